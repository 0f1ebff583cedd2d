'use strict';
'require view';
'require uci';
'require natf.calls as calls';
'require natf.fields as fields';
'require natf.page as page';
'require natf.reasons as reasons';
'require natf.services as services';
'require natf.table as table';

/*
 * Why a host cannot be reached: every check on the way of a request, in its order, and what was refused lately. The
 * daemon makes its own checks; what lies before and behind them (is it running, is the host there) is looked up here.
 */

const el = page.el;

const step = (what, passed, detail, todo) => ({ what: what, passed: passed, detail: detail, todo: todo });

/* A check of the daemon, in the reader's language as far as this page knows it. */
function checked(one, row) {
	const reason = reasons.of(one.reason);

	return step(reason.check || one.check, one.passed, row && reason.detail ? reason.detail(row, one.detail) : one.detail, reason.remedy);
}

/* Whether somebody with the host's address has been heard on the LAN. */
function onTheLan(row, hosts) {
	const seen = row && (hosts.discovered || []).find((host) => host.address == row.address);
	const heard = seen && seen.seen.includes('neighbour');

	return step(_('The host answers on the LAN'), heard ? true : null,
		heard ? _('heard lately: %s').format(row.address) : _('not heard lately: it may be off, asleep, or just quiet'),
		_('See whether it is switched on; the service has to run on it, too.'));
}

return view.extend({
	load() {
		return Promise.all([ uci.load('natf'), calls.settle(calls.refusals()) ]);
	},

	render([ , refusals ]) {
		this.steps = el('div', { 'id': 'natf-steps', 'aria-live': 'polite' });
		this.error = page.errorPlace();
		this.refusals = this.refusalTable();
		this.show(refusals);
		page.watch(() => calls.settle(calls.refusals()).then((next) => this.show(next)), 5);

		return el('div', { 'class': 'cbi-map' },
			el('h2', { 'name': 'content' }, _('Why not?')),
			el('div', { 'class': 'cbi-map-descr' }, _('What would become of a request, check by check.')),
			this.form(),
			this.steps,
			el('div', { 'class': 'cbi-section', 'id': 'natf-refusals' }, el('h3', {}, _('Last refusals')), this.error.node, this.refusals.node));
	},

	form() {
		const peers = fields.peers();

		this.name = el('input', { 'type': 'text', 'id': 'natf-name', 'class': 'cbi-input-text', 'list': 'natf-names', 'required': '',
			'maxlength': 253, 'autocomplete': 'off', 'placeholder': 'alice' });
		this.service = el('input', { 'type': 'text', 'id': 'natf-service', 'class': 'cbi-input-text', 'list': 'natf-services',
			'maxlength': 32, 'autocomplete': 'off', 'placeholder': _('any') });
		this.peer = el('select', { 'id': 'natf-peer', 'class': 'cbi-input-select' },
			peers.map((peer) => el('option', { 'value': peer }, peer)),
			el('option', { 'value': '' }, _('anyone (without a key)')));

		const rows = [ [ _('Name'), this.name ], [ _('Service'), this.service ], [ _('Peer'), this.peer ] ];

		return el('form', {
			'class': 'cbi-section',
			'submit': (event) => {
				event.preventDefault();
				this.ask();
			}
		},
		rows.map(([ title, field ]) => el('div', { 'class': 'cbi-value' },
			el('label', { 'class': 'cbi-value-title', 'for': field.id }, title), el('div', { 'class': 'cbi-value-field' }, field))),
		el('datalist', { 'id': 'natf-names' }, fields.hosts().map((id) => el('option', { 'value': fields.hostName(id) }))),
		el('datalist', { 'id': 'natf-services' }, services.known.map(([ name ]) => el('option', { 'value': name }))),
		el('div', { 'class': 'cbi-value' }, el('div', { 'class': 'cbi-value-field' },
			el('button', { 'type': 'submit', 'class': 'btn cbi-button cbi-button-action important' }, _('Explain')))));
	},

	ask() {
		const typed = this.service.value.trim();
		const service = typed == '' ? undefined : services.parse(typed);

		if (service === null || (service && !(/^(tcp|udp):[0-9]+$/).test(service)))
			return this.fail(_('A service is one port here: a well-known name, tcp:22 or udp:5000.'));

		return Promise.all([
			calls.why(this.name.value.trim(), service, this.peer.value || undefined),
			calls.settle(calls.hosts()),
			calls.settle(calls.peers())
		]).then(([ answer, hosts, peers ]) => this.explain(answer, hosts.value || {}, peers.value || {}))
			.catch((error) => this.fail(error.message));
	},

	fail(text) {
		page.fill(this.steps, el('div', { 'class': 'alert-message error', 'role': 'alert' }, text));
	},

	explain(answer, hosts, peers) {
		const peer = (peers.peers || []).find((one) => one.name == answer.peer);
		const row = (hosts.hosts || []).find((host) => host.name == answer.host);
		const steps = [
			step(_('natf-routerd is running'), true, ''),
			peer ? step(_('The peer has been heard'), peer.last_seen != null ? true : null,
				peer.last_seen != null ? page.moment(peer.last_seen) : _('never since the start'),
				_('On the peer, "natf-endd ping" shows how far its messages get.')) : null,
			answer.learned ? step(_('The name was registered by the host itself (dynamic DNS)'), true, answer.host) : null
		].concat(answer.steps.map((one) => checked(one, row)));

		if (answer.allowed)
			steps.push(onTheLan(row, hosts));

		page.fill(this.steps,
			el('h3', {}, [ answer.host, this.asked(row && answer.service), answer.peer ].join(' · ')),
			el('ol', {}, steps.filter((one) => one).map((one) => this.line(one))),
			el('div', { 'class': `alert-message ${answer.allowed ? 'success' : 'error'}` },
				el('strong', {}, answer.allowed ? _('Allowed') : _('Refused')), ': ', answer.allowed ? this.success(answer, row, peer) : this.failure(answer)));
	},

	/* The service that was asked about; the daemon takes one that the row allows where none was. */
	asked(service) {
		const typed = this.service.value.trim();

		return typed == '' ? _('any') : service ? services.show(service) : typed;
	},

	success(answer, row, peer) {
		const port = this.service.value.trim() == '' ? '' : `:${answer.service.split(':')[1]}`;
		const to = row ? `${row.address}${port}` : answer.because;

		return (peer && peer.role == 'tsn' ? _('Clients that it announces are led to %s.') : _('The flow is led to %s.')).format(to);
	},

	failure(answer) {
		const failed = answer.steps.find((one) => !one.passed) || {};

		return reasons.of(failed.reason).failure || answer.because;
	},

	line(one) {
		const mark = one.passed == null ? page.label(_('unsure'), 'notice') : one.passed ? page.label(_('ok'), 'success') : page.label(_('blocked'), 'warning');

		return el('li', { 'style': 'padding:.2em 0' }, mark, ' ', one.what, one.detail ? [ ' (', el('em', {}, one.detail), ')' ] : [],
			one.passed !== true && one.todo ? [ ' – ', one.todo ] : []);
	},

	refusalTable() {
		return table.create({
			label: _('Last refusals'),
			key: (row) => [ row.peer, row.from, row.host, row.service, row.reason ].join(' '),
			empty: _('Nothing has been refused since the start.'),
			columns: [
				{ name: 'time', title: _('Last time'), text: (row) => page.moment(row.time), sort: (row) => -row.time },
				{ name: 'times', title: _('Times'), text: (row) => String(row.times), sort: (row) => row.times, right: true },
				{ name: 'host', title: _('Name'), text: (row) => row.host },
				{ name: 'service', title: _('Service'), text: (row) => row.service ? services.show(row.service) : '–' },
				{ name: 'peer', title: _('Peer'), text: (row) => row.peer == 'anyone' ? _('anyone') : row.peer },
				{ name: 'from', title: _('From'), text: (row) => row.from },
				{ name: 'because', title: _('Because'), text: (row) => reasons.of(row.reason).failure || row.because },
				{ name: 'explain', title: _('Action'), build: (row) => el('button', { 'type': 'button', 'class': 'btn cbi-button cbi-button-action',
					'click': () => this.askFor(row()) }, _('Explain')) }
			],
			sorted: 'time'
		});
	},

	askFor(row) {
		this.name.value = row.host;
		this.service.value = row.service ? services.show(row.service) : '';
		this.peer.value = row.peer == 'anyone' ? '' : row.peer;
		this.name.scrollIntoView();

		return this.ask();
	},

	show(answer) {
		this.error.show(answer.error);

		if (answer.value)
			this.refusals.update(answer.value.refusals);
	},

	handleSave: null,
	handleSaveApply: null,
	handleReset: null
});
