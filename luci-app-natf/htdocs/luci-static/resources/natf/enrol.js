'use strict';
'require baseclass';
'require form';
'require uci';
'require natf.calls as calls';
'require natf.draw as draw';
'require natf.fields as fields';
'require natf.page as page';

/*
 * Enrolling a peer: a question, and the one answer that ever has its key. The daemon writes the peer's section and its key
 * at once, as one belongs to the other; there is nothing to apply. The key is in this dialogue only, and is gone with it.
 */

const el = page.el;

/* The parts of natf://DOMAIN/?id=ID&key=KEY&peer=NAME[&port=PORT]. */
function parts(uri) {
	const [ , domain, query ] = (/^natf:\/\/([^\/]+)\/\?(.*)$/).exec(uri);
	const values = Object.fromEntries(query.split('&').map((pair) => pair.split('=').map(decodeURIComponent)));

	return Object.assign({ domain: domain }, values);
}

/* The name that enrolling by command gives the section on the other side. */
const sectionOf = (domain) => domain.split('.')[0].replace(/[^A-Za-z0-9]/g, '_');

/* What `enroll` would write, for those who write it themselves. */
function configuration(uri, role) {
	const { domain, id, key, port } = parts(uri);
	const name = sectionOf(domain);
	const tsn = role == 'tsn';
	const lines = tsn ? [ '# /etc/config/tsn-dnsd' ] : [ '# /etc/config/natf', 'config end \'end\'', '' ];

	lines.push(`config ${tsn ? 'router' : 'home'} '${name}'`, tsn ? `\tlist domain '${domain}'` : `\toption domain '${domain}'`,
		`\toption id '${id}'`);

	if (port && !tsn)
		lines.push(`\toption udp_port '${port}'`);

	lines.push('', `# /etc/${tsn ? 'tsn-dnsd' : 'natf'}/keys (chmod 0600)`, `${name} ${id} ${key}`);

	return lines.join('\n');
}

/* A text to be taken away, with a button that copies it. */
function copyable(id, title, text, rows) {
	const area = el('textarea', { 'id': id, 'readonly': '', 'rows': rows, 'spellcheck': 'false', 'autocomplete': 'off',
		'style': 'width:100%;font-family:monospace', 'focus': (event) => event.target.select() }, text);
	const done = el('span', { 'role': 'status' });
	const copy = function() {
		area.select();

		/* The clipboard interface is there only where the page came by HTTPS. */
		const copied = navigator.clipboard ? navigator.clipboard.writeText(text) : Promise.resolve(document.execCommand('copy'));

		return copied.then(() => page.write(done, _('copied')), () => page.write(done, _('Press Ctrl+C')));
	};

	return el('div', {},
		el('label', { 'for': id, 'style': 'display:block;float:none;width:auto;text-align:left' }, title),
		area,
		el('p', {}, el('button', { 'type': 'button', 'class': 'btn cbi-button', 'click': copy }, _('Copy')), ' ', done));
}

const folded = (title, content, open) => el('details', { 'open': open ? '' : null },
	el('summary', { 'style': 'cursor:pointer;padding:.3em 0' }, title), content);

function showKey(answer, role) {
	const program = role == 'tsn' ? 'tsn-dnsd' : 'natf-endd';
	const uri = answer.uri;

	page.modal(_('Peer %s is enrolled').format(answer.peer), [
		answer.warning ? el('div', { 'class': 'alert-message warning' }, answer.warning) : [],
		el('p', {}, el('strong', {}, _('This key is shown once.')), ' ',
			_('Whoever has it is this peer: do not mail it. The peer is enrolled already; there is nothing to apply.')),
		copyable('natf-key', _('Enrol text'), uri, 3),
		answer.qr ? folded(_('QR code'), el('div', { 'id': 'natf-qr' }, draw.qr(answer.qr, _('QR code of the enrol text'))), true) : [],
		folded(_('By a command'), copyable('natf-command', role == 'tsn' ? _('On the DNS server') : _('On the outside node'),
			`${program} enroll '${uri}'`, 3)),
		folded(_('As a configuration'), copyable('natf-config', _('Append to the files of %s').format(program), configuration(uri, role), 10))
	], [ page.closer(_('I have the key: close')) ]);
}

/* The form; `done` is called when a peer was added. */
function ask(done) {
	const data = { peer: { role: 'node', domain: L.toArray((uci.sections('natf', 'router')[0] || {}).domain)[0] } };
	const map = new form.JSONMap(data, null, _('The key is made now and both its places are written at once: this is no change to be applied later.'));
	const section = map.section(form.NamedSection, 'peer', 'peer');
	const error = page.errorPlace();

	const name = section.option(form.Value, 'name', _('Name'), _('Of the device, such as laptop.'));
	name.rmempty = false;
	name.validate = (id, text) => fields.checkPeerName(text);

	const role = section.option(form.ListValue, 'role', _('Role'));
	role.value('node', _('Node: a laptop, phone or server that connects itself'));
	role.value('tsn', _('TSN: a DNS server that announces its clients'));

	const hosts = section.option(form.MultiValue, 'hosts', _('Hosts'),
		_('What it may ask for, as far as the rows of these hosts allow; all of them, if none is chosen.'));
	hosts.placeholder = _('all');
	fields.hosts().forEach((id) => hosts.value(fields.hostName(id), el('span', {}, fields.hostName(id))));

	const domain = section.option(form.Value, 'domain', _('Name of the home'), _('Under which it finds this router: the DDNS name.'));
	domain.rmempty = false;
	domain.validate = (id, text) => fields.checkDomain(text);

	const enrol = () => map.parse().then(() => {
		const value = (option) => option.formvalue('peer');
		const chosen = L.toArray(value(hosts));

		return calls.peerAdd(value(name), value(role), chosen.length ? chosen : undefined, value(domain)).then((answer) => {
			showKey(answer, value(role));
			done();
		});
	}).catch((problem) => error.show(problem.message));

	return map.render().then((nodes) => page.modal(_('Enrol a peer'), [ nodes, error.node ],
		[ page.closer(_('Cancel')), ' ', page.button(_('Enrol'), 'positive important', enrol) ]));
}

return baseclass.extend({
	ask: ask,
	configuration: configuration
});
