'use strict';
'require view';
'require form';
'require uci';
'require natf.calls as calls';
'require natf.fields as fields';
'require natf.page as page';
'require natf.service as service';
'require natf.state as state';
'require natf.table as table';

/*
 * tsn-dnsd: the DNS server that announces its clients to routers. Its settings are UCI like all others; keys of routers
 * and secrets of updates stand in files of their own, which no web interface reads.
 */

const el = page.el;

const TYPES = [ 'A', 'AAAA', 'CNAME', 'NS', 'PTR', 'MX', 'SRV', 'TXT', 'CAA', 'SSHFP', 'TLSA', 'SVCB', 'HTTPS' ];

const numbers = () => [
	[ 'port', _('Port'), '53', 'port', _('For addresses without one of their own.') ],
	[ 'cache_size', _('Answers in the cache'), '10000', 'range(0,1000000)', null ],
	[ 'ttl_min', _('Shortest lifetime'), '0', 'uinteger', _('Seconds.') ],
	[ 'ttl_max', _('Longest lifetime'), '86400', 'uinteger', _('Seconds.') ],
	[ 'negative_ttl_max', _('Longest lifetime of "no such name"'), '3600', 'uinteger', _('Seconds.') ],
	[ 'serve_stale', _('Old answers serve for'), '86400', 'uinteger', _('Seconds after their end, while no upstream server answers; 0 = not at all.') ],
	[ 'rate', _('Questions per second'), '200', 'range(0,1000000)', _('Of one client; 0 = no limit.') ],
	[ 'announce_wait', _('Wait for a router'), '300', 'range(10,3000)', _('Milliseconds.') ],
	[ 'announce_ttl', _('Lifetime of announced answers'), '2', 'range(0,60)', _('Seconds.') ]
];

/* Lists and texts of a grid, as text. */
const shown = (option) => fields.asText(option, (id, value) => L.toArray(value).join(', '));

function addServer(map) {
	const server = map.section(form.TypedSection, 'server', _('Server'));

	server.anonymous = true;
	server.tab('general', _('General'));
	server.tab('bounds', _('Cache and bounds'));

	let option = server.taboption('general', fields.Switch, 'enabled', _('Enabled'));
	option.default = '1';

	for (const [ name, title, placeholder, description, check ] of [
		[ 'listen', _('Listens at'), '127.0.0.1', _('ADDRESS or ADDRESS#PORT; 0.0.0.0 and :: are all addresses.'), fields.checkEndpoint ],
		[ 'upstream', _('Upstream servers'), _('those of the provider'), _('Asked in this order: ADDRESS or ADDRESS#PORT.'), fields.checkEndpoint ],
		[ 'allow', _('Who may ask'), _('private networks only'), _('Networks, such as 198.51.100.0/24. The list replaces the private networks that are allowed otherwise.'), fields.checkNetwork ]
	]) {
		option = server.taboption('general', form.DynamicList, name, title, description);
		option.placeholder = placeholder;
		option.validate = (id, text) => text == '' || check(text);
	}

	option = server.taboption('general', fields.Switch, 'query_log', _('Log questions'), _('Every question and what became of it, in the system log.'));

	for (const [ name, title, usual, datatype, description ] of numbers()) {
		option = server.taboption('bounds', form.Value, name, title, description);
		option.placeholder = usual;
		option.datatype = datatype;
	}
}

/* A grid of one section type: [option, title, widget, description, prepare(option)]. */
function addGrid(map, type, title, description, button, columns) {
	const section = map.section(form.GridSection, type, title, description);

	section.anonymous = true;
	section.addremove = button != null;
	section.nodescriptions = true;
	page.nameDialogues(section);
	section.addbtntitle = button;
	section.modaltitle = () => [ title ];

	for (const [ name, heading, widget, text, prepare ] of columns) {
		const option = section.option(widget, name, heading, text);

		if (widget === fields.Switch)
			Object.assign(option, { default: '1', editable: true });
		else if (widget !== form.ListValue)
			shown(option);

		if (prepare)
			prepare(option);
	}

	return section;
}

const needed = (check) => (option) => {
	option.rmempty = false;
	option.validate = check ? (id, text) => check(text) : () => true;
};

const optional = (check) => (option) => { option.validate = (id, text) => text == '' || check(text); };

function addRouters(map) {
	addGrid(map, 'router', _('Routers'), _('Who is told about clients. A router is enrolled with "tsn-dnsd enroll", with the text that its own page of peers shows.'), null, [
		[ '_name', _('Name'), form.DummyValue, null, (option) => {
			option.modalonly = false;
			fields.asText(option, (id) => id);
		} ],
		[ 'enabled', _('Enabled'), fields.Switch ],
		[ 'domain', _('Domains'), form.DynamicList, _('These names and all below them are announced.'), optional(fields.checkDomain) ],
		[ 'address', _('Address'), form.Value, _('Where announcements go; usually the address in the answer.'), optional(fields.checkIp) ],
		[ 'without', _('If it does not answer'), form.ListValue, _('What clients get while the router takes no announcements.'), (option) => {
			option.value('refuse', _('no address'));
			option.value('answer', _('the address, as from any DNS server'));
			option.default = 'refuse';
			fields.asText(option, (id, value) => value == 'answer' ? _('the address, as from any DNS server') : _('no address'));
		} ]
	]);
}

function addClients(map) {
	addGrid(map, 'client', _('Clients behind another NAT'), _('For clients whose address at the router is not the one they ask from.'), _('Add clients'), [
		[ 'network', _('Networks'), form.DynamicList, _('By the address that they ask from.'), (option) => {
			option.rmempty = false;
			option.validate = (id, text) => text == '' || fields.checkNetwork(text);
		} ],
		[ 'origin', _('Address at the router'), form.Value, _('Without it, a public client\'s own.'), optional(fields.checkIp) ]
	]);
}

function addRecords(map) {
	addGrid(map, 'zone', _('Own zones'), _('Answered here, never asked upstream.'), _('Add a zone'), [
		[ 'name', _('Name'), form.Value, null, needed(fields.checkDomain) ],
		[ 'ttl', _('Lifetime'), form.Value, _('Seconds.'), (option) => Object.assign(option, { datatype: 'uinteger', placeholder: '60' }) ],
		[ 'ns', _('Servers of the zone'), form.DynamicList, null, optional(fields.checkDomain) ],
		[ 'mail', _('Mail address'), form.Value, _('Of whoever looks after the zone.') ],
		[ 'update_key', _('Who may update'), form.DynamicList, _('Names of TSIG keys. Their secrets stand in /etc/tsn-dnsd/tsig.'),
			(option) => uci.sections('tsn-dnsd', 'tsigkey').forEach((key) => option.value(key['.name'])) ]
	]);
	addGrid(map, 'record', _('Own records'), _('A record outside every zone makes just that name known.'), _('Add a record'), [
		[ 'name', _('Name'), form.Value, _('Such as nas.home.example.net or *.home.example.net'), needed((text) => fields.checkDomain(text.replace(/^\*\./, ''))) ],
		[ 'type', _('Type'), form.ListValue, null, (option) => {
			TYPES.forEach((type) => option.value(type));
			fields.asText(option, (id, value) => value);
		} ],
		[ 'value', _('Value'), form.Value, _('Such as 192.168.1.20, or "10 mail.example.net" for MX.'), needed() ],
		[ 'ttl', _('Lifetime'), form.Value, _('Seconds.'), (option) => { option.datatype = 'uinteger'; } ]
	]);
}

return view.extend({
	load() {
		return Promise.all([ this.fetch(), uci.load('tsn-dnsd') ]);
	},

	fetch: () => Promise.all([ calls.settle(calls.dnsdStatus()), calls.settle(calls.dnsdRouters()), calls.settle(calls.dnsdZones()),
		calls.settle(calls.service('tsn-dnsd')) ]),

	render([ answers ]) {
		const map = new form.Map('tsn-dnsd', _('Settings of tsn-dnsd'));

		this.error = page.errorPlace();
		this.facts = el('div', { 'id': 'natf-dnsd' });
		this.routers = table.create({
			label: _('Routers'), key: (row) => row.name, empty: _('No router is enrolled.'),
			columns: [
				{ name: 'name', title: _('Router'), text: (row) => row.name },
				{ name: 'domains', title: _('Domains'), text: (row) => row.domains.join(', ') },
				{ name: 'address', title: _('Address'), text: (row) => row.address || '–' },
				{ name: 'state', title: _('State'), text: (row) => row.enabled ? row.state || _('not asked yet') : _('off') }
			]
		});
		this.zones = table.create({
			label: _('Zones'), key: (row) => row.name, empty: _('No own zone.'),
			columns: [
				{ name: 'name', title: _('Zone'), text: (row) => row.name },
				{ name: 'serial', title: _('Serial'), text: (row) => String(row.serial), right: true },
				{ name: 'names', title: _('Names'), text: (row) => String(row.names), right: true },
				{ name: 'learned', title: _('Learned records'), text: (row) => `${row.learned} / ${row.learned_max}`, right: true }
			]
		});
		this.counters = table.create({
			label: _('Counters'), key: (row) => row.name, empty: _('Nothing has been counted yet.'), sorted: 'name',
			columns: [
				{ name: 'name', title: _('Counter'), text: (row) => row.name },
				{ name: 'value', title: _('Value'), text: (row) => String(row.value), sort: (row) => row.value, right: true }
			]
		});
		this.service = service.create('tsn-dnsd', () => this.fetch().then((next) => this.show(next)));
		this.service.node.append(page.button(_('Empty the cache'), 'action', () => this.flush()));
		this.show(answers);
		page.watch(() => this.fetch().then((next) => this.show(next)), 5);
		addServer(map);
		addRouters(map);
		addClients(map);
		addRecords(map);

		const section = (id, title, ...content) => el('div', { 'class': 'cbi-section', 'id': id }, el('h3', {}, title), content);

		return map.render().then((nodes) => el('div', {},
			el('h2', { 'name': 'content' }, _('TSN')),
			el('div', { 'class': 'cbi-map-descr' },
				_('For clients that run nothing of ours: they use this DNS server, and it tells the home\'s router who is about to connect to which host.')),
			page.readonlyNotice(),
			this.error.node,
			section('natf-dnsd-state', _('State'), this.facts, this.service.node),
			section('natf-dnsd-routers', _('Routers'), this.routers.node),
			section('natf-dnsd-zones', _('Zones'), this.zones.node),
			el('details', { 'class': 'cbi-section' }, el('summary', { 'style': 'cursor:pointer' }, _('Counters')), this.counters.node),
			nodes));
	},

	show([ status, routers, zones, init ]) {
		this.service.show(init.value || {}, status.value != null);
		this.error.show(status.error);

		if (routers.value)
			this.routers.update(routers.value.routers);

		if (zones.value)
			this.zones.update(zones.value.zones);

		if (!status.value)
			return page.fill(this.facts, page.facts([ [ _('Service'), state.badge(false) ] ]));

		const { version, uptime, listen, upstream, cache, counters } = status.value;

		/* Counters that never rose say nothing. */
		this.counters.update(Object.keys(counters).filter((name) => counters[name] > 0).map((name) => ({ name: name, value: counters[name] })));

		return page.fill(this.facts, page.facts([
			[ _('Service'), state.badge(true) ],
			[ _('Listens at'), listen.join(', ') || '–' ],
			[ _('Upstream servers'), upstream.map((server) => `${server.address} (${server.state == 'failing' ? _('fails') : _('in use')}${
				server.round_trip_ms == null ? '' : `, ${server.round_trip_ms.toFixed(1)} ms`})`).join(', ') || '–' ],
			[ _('Cache'), _('%d answers of %d, %s').format(cache.answers, cache.answers_max, page.bytes(cache.bytes)) ],
			[ _('Version, uptime'), `${version}, ${page.duration(uptime)}` ]
		]));
	},

	flush() {
		return calls.dnsdFlush().then(
			() => page.notify(_('The cache is empty.')),
			(error) => page.notify(error.message, 'danger'));
	}
});
