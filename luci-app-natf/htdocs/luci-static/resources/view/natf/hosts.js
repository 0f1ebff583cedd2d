'use strict';
'require view';
'require form';
'require uci';
'require natf.calls as calls';
'require natf.fields as fields';
'require natf.page as page';
'require natf.services as services';
'require natf.table as table';

/*
 * The access control table (ACT): who may reach which service of which host. Below it is who was seen on the LAN; that
 * is hearsay, and "Allow" only adds a row to the table, which counts after Save & Apply like every other change.
 */

const el = page.el;

/* Address, MAC and names of those on the LAN, for the choices of the form. */
let discovered = [];

const titleOf = (host) => [ ...new Set(host.names.map((name) => name.name)) ].join(', ');

function addName(section) {
	const option = section.option(form.Value, 'name', _('Name'), _('What stands before the home\'s domain.'));

	option.rmempty = false;
	option.cfgvalue = (id) => uci.get('natf', id, 'name') || (uci.get('natf', id, '.anonymous') ? null : id);
	option.validate = fields.checkHostName;
	fields.asText(option, (id) => fields.hostName(id));
}

/* By MAC or by address, never both. */
function addAddress(section) {
	const by = section.option(form.ListValue, '_by', _('Found by'));

	by.modalonly = true;
	by.value('mac', _('MAC address: follows the DHCP lease'));
	by.value('ip', _('IPv4 address: the host always has this one'));
	by.cfgvalue = (id) => uci.get('natf', id, 'ip') ? 'ip' : 'mac';
	by.write = function() {};
	by.remove = function() {};

	const shown = section.option(form.DummyValue, '_address', _('Address'));

	shown.modalonly = false;
	fields.asText(shown, (id) => {
		const mac = uci.get('natf', id, 'mac');
		const seen = discovered.find((host) => mac && host.mac == fields.mac(mac));

		return mac ? (seen ? `${mac} (${seen.address})` : mac) : uci.get('natf', id, 'ip');
	});

	for (const [ name, title, check ] of [ [ 'mac', _('MAC address'), fields.checkMac ], [ 'ip', _('IPv4 address'), fields.checkIp ] ]) {
		const option = section.option(form.Value, name, title);

		option.modalonly = true;
		option.rmempty = false;
		option.depends('_by', name);
		option.validate = (id, text) => check(text);

		for (const host of discovered) {
			const value = name == 'mac' ? host.mac : host.address;

			if (value)
				/* LuCI may take a string for HTML; a node it takes as it is. */
				option.value(value, el('span', {}, [ ...new Set([ value, host.address, titleOf(host) ]) ].filter((part) => part).join(' · ')));
		}
	}
}

function addAccess(section) {
	const option = section.option(fields.Switch, 'access', _('Allowed'), _('Whether this host can be reached at all.'));

	option.editable = true;
	option.enabled = 'allow';
	option.disabled = 'deny';
	option.default = 'deny';
	option.rmempty = false;
	option.named = (id) => _('Allow %s').format(fields.hostName(id));
}

function addServices(section) {
	const option = section.option(form.DynamicList, 'service', _('Services'),
		_('What can be reached on it; everything, if nothing is named.'));

	for (const [ name, service ] of services.known)
		option.value(service, `${name} (${service})`);

	option.placeholder = _('everything');
	option.validate = (id, text) => fields.checkService(text);
	option.write = (id, values) => uci.set('natf', id, 'service', L.toArray(values).map(services.parse));
	fields.asText(option, (id, value) => L.toArray(value).map(services.show).join(', ') || _('everything'));
}

function addPeers(section) {
	const option = section.option(form.DynamicList, 'peer', _('Who'),
		_('Enrolled peers; every one of them, if none is named.'));
	const known = () => fields.peers().concat('anyone');

	for (const peer of fields.peers())
		option.value(peer, peer);

	option.value('anyone', _('anyone (without a key)'));
	option.placeholder = _('every enrolled peer');
	/* A name that is already there stays: the peer may come back. */
	option.validate = function(id, text) {
		return text == '' || known().includes(text) || L.toArray(this.cfgvalue(id)).includes(text) || _('No peer of this name is enrolled');
	};
	fields.asText(option, (id, value) => {
		const names = L.toArray(value);

		if (!names.includes('anyone'))
			return names.join(', ') || _('every enrolled peer');

		return page.label(_('anyone'), 'warning', _('As open as a static port forward: whoever asks gets in, without a key.'));
	});

	const warning = section.option(form.DummyValue, '_anyone', _('Mind'));

	warning.modalonly = true;
	warning.depends({ 'peer': 'anyone', '!contains': true });
	warning.cfgvalue = () => _('"anyone" is everybody on the internet, without a key: as open as a static port forward of these services. Name the services above.');
}

function addUntil(section) {
	const option = section.option(form.Value, 'until', _('Until'),
		_('When the access ends, in UTC: 2026-12-31 (that day included) or 2026-12-31 18:00.'));

	option.placeholder = _('no end');
	option.validate = (id, text) => fields.checkUntil(text);
	fields.asText(option, (id, value) => {
		const end = value ? fields.parseUntil(value) : null;

		return value && end != null && end * 1000 <= Date.now() ? [ value, ' ', page.label(_('expired'), 'warning') ]
			: value || _('no end');
	});
}

return view.extend({
	load() {
		return Promise.all([ calls.settle(calls.hosts()), uci.load('natf') ]);
	},

	render([ answer ]) {
		discovered = answer.value ? answer.value.discovered : [];

		const map = this.map = new form.Map('natf', _('Hosts'),
			_('Only what is listed here and allowed can be reached, by the peers and at the services of its row.'));
		const section = map.section(form.GridSection, 'host', _('Access control table'));

		section.anonymous = true;
		section.addremove = true;
		section.nodescriptions = true;
		page.nameDialogues(section);
		section.addbtntitle = _('Add a host');
		/* LuCI decodes entities twice on the way to the title's HTML. */
		section.modaltitle = (id) => '%h'.format('%h'.format(
			uci.get('natf', id, 'name') || (uci.get('natf', id, '.anonymous') ? _('New host') : id)));
		addName(section);
		addAddress(section);
		addAccess(section);
		addServices(section);
		addPeers(section);
		addUntil(section);
		section.renderSectionPlaceholder = () => el('em', {}, _('No host yet: nothing can be reached.'));

		this.error = page.errorPlace();
		this.seen = this.seenTable();
		this.show(answer);
		page.watch(() => calls.settle(calls.hosts()).then((next) => this.show(next)), 30);

		return map.render().then((nodes) => el('div', {}, page.readonlyNotice(), nodes, el('div', { 'class': 'cbi-section', 'id': 'natf-seen' },
			el('h3', {}, _('Seen on the LAN')),
			el('div', { 'class': 'cbi-section-descr' },
				_('From DHCP leases, the neighbour table, NetBIOS and dynamic DNS. Names are what hosts call themselves: any host can take any name.')),
			this.error.node,
			this.seen.node)));
	},

	seenTable() {
		return table.create({
			label: _('Seen on the LAN'),
			key: (host) => host.address,
			empty: _('Nobody has been seen.'),
			columns: [
				{ name: 'names', title: _('Names'), text: (host) => titleOf(host) || '–' },
				{ name: 'address', title: _('Address'), text: (host) => host.address },
				{ name: 'mac', title: _('MAC address'), text: (host) => host.mac || '–' },
				{ name: 'seen', title: _('Seen in'), text: (host) => host.seen.map((source) => this.sources()[source] || source).join(', ') },
				{ name: 'row', title: _('Row'), text: (host) => (host.hosts || []).join(', ') || '–' },
				{ name: 'claims', title: _('Takes the name of'), text: (host) => (host.claims || []).join(', ') || '–' },
				{
					name: 'allow', title: _('Access'),
					build: (row) => page.button(_('Allow'), 'positive', () => this.allow(row()),
						{ 'aria-label': _('Allow %s').format(titleOf(row()) || row().address) }),
					refresh: (cell, host) => page.enable(cell.firstChild, host.access != 'allow', _('It is allowed already'))
				}
			]
		});
	},

	sources: () => ({
		lease: _('DHCP lease'), neighbour: _('neighbour table'), netbios: _('NetBIOS'), update: _('dynamic DNS')
	}),

	show(answer) {
		this.error.show(answer.error);

		if (answer.value) {
			discovered = answer.value.discovered;
			this.seen.update(discovered);
		}
	},

	/* Stages a row; what it opens is said at once, and counts after Save & Apply. */
	allow(host) {
		let name;

		/* Within the save: what stands in the form is read before, and would count more. */
		const stage = () => {
			const id = this.rowOf(host) || this.add(host);

			uci.set('natf', id, 'access', 'allow');
			name = fields.hostName(id);
		};

		return this.map.save(stage, true).then(
			() => page.notify(_('%s stands in the table as allowed, for the services and peers of its row. It counts after "Save & Apply".').format(name)),
			(error) => page.notify(error.message, 'danger'));
	},

	rowOf(host) {
		return fields.hosts().find((id) => uci.get('natf', id, 'ip') == host.address
			|| (host.mac && fields.mac(uci.get('natf', id, 'mac')) == host.mac));
	},

	/* The section has the host's name where that can be one, so that the file reads well. */
	add(host) {
		const free = (name) => fields.hosts().every((id) => fields.hostName(id).toLowerCase() != name.toLowerCase());
		let name = host.proposed || `host-${host.address.split('.').slice(2).join('-')}`;

		for (let at = 2; !free(name); at++)
			name = `${name.replace(/-\d+$/, '')}-${at}`;

		const section = (/^[A-Za-z0-9_]+$/).test(name) && !uci.get('natf', name) ? name : null;
		const id = uci.add('natf', 'host', section);

		if (!section)
			uci.set('natf', id, 'name', name);

		uci.set('natf', id, host.mac ? 'mac' : 'ip', host.mac || host.address);

		return id;
	}
});
