'use strict';
'require view';
'require uci';
'require natf.calls as calls';
'require natf.draw as draw';
'require natf.page as page';
'require natf.service as service';
'require natf.state as state';

/*
 * The state of the router, and what to do about it. Counters are polled every few seconds and drawn as a line; what
 * costs the router more (the files, names in DNS) is asked for more seldom.
 */

const SECONDS = 5;
/* Values in the line: five minutes. */
const LENGTH = 60;

const el = page.el;

/* How much a counter has grown; it starts at zero with the daemon. */
const grown = (before, now) => before == null ? 0 : now >= before ? now - before : now;

return view.extend({
	load() {
		return Promise.all([
			state.load(),
			uci.load('natf'),
			L.resolveDefault(uci.load('firewall')),
			L.resolveDefault(uci.load('network'))
		]);
	},

	render([ now ]) {
		this.warnings = el('div', { 'id': 'natf-warnings', 'aria-live': 'polite' });
		this.facts = el('div', { 'id': 'natf-state' });
		this.problems = el('div', { 'id': 'natf-problems' });
		this.line = draw.sparkline(_('Requests and refusals of the last five minutes'), LENGTH, [
			{ title: _('Requests'), color: 'var(--primary-color-high, #1976d2)' },
			{ title: _('Refusals'), color: 'var(--error-color-medium, #d9534f)', dashes: '4 3' }
		]);
		this.service = service.create('natf', () => state.load().then((next) => this.show(next)));
		this.show(now);
		this.lookup();
		page.watch(() => state.load().then((next) => this.show(next)), SECONDS);
		page.watch(() => this.lookup(), 300);

		return el('div', { 'class': 'cbi-map' },
			el('h2', { 'name': 'content' }, _('NAT-f')),
			el('div', { 'class': 'cbi-map-descr' },
				_('Lets the nodes you trust reach hosts behind this router by name, and nobody else.')),
			page.readonlyNotice(),
			this.warnings,
			this.problems,
			el('div', { 'class': 'cbi-section' }, el('h3', {}, _('State')), this.facts, this.service.node),
			el('div', { 'class': 'cbi-section' }, el('h3', {}, _('Requests')), this.line.node));
	},

	/* What the home's names resolve to, as the router's DNS server says. */
	lookup() {
		return calls.settle(calls.lookup()).then((answer) => {
			this.lookups = answer.value ? answer.value.names : null;
			this.showWarnings();
		});
	},

	show(now) {
		const counters = now.status ? now.status.counters : {};
		const totals = [ (counters.requests || 0) + (counters.notifications || 0), state.refusals(counters) ];

		this.line.add(totals.map((total, at) => now.status && this.totals ? grown(this.totals[at], total) : 0));
		this.totals = now.status ? totals : null;
		this.now = now;
		this.showWarnings();
		this.showFacts();
		this.showProblems();
		this.service.show(now.service || {}, now.status != null);
	},

	showWarnings() {
		const warnings = state.warnings(this.now, this.lookups);
		const shown = JSON.stringify(warnings);

		/* Nothing moves under the reader's hand while nothing has changed. */
		if (shown === this.shownWarnings)
			return;

		this.shownWarnings = shown;
		page.fill(this.warnings, warnings.map((warning) => el('div', { 'class': `alert-message ${warning.kind}` },
			el('strong', {}, warning.what), ' ', warning.todo,
			warning.link ? [ ' ', el('a', { 'href': L.url('admin/services/natf', warning.link[0]) }, warning.link[1]) ] : [])));
	},

	showFacts() {
		const status = this.now.status;
		const hosts = this.now.hosts || [];
		const rows = [ [ _('Service'), state.badge(this.now.status), ' ', this.now.service && this.now.service.enabled ? _('starts at boot') : '' ] ];

		if (status) {
			rows.push(
				[ _('WAN address'), status.outside || '–' ],
				[ _('Name of the home'), status.domains.join(', ') || '–' ],
				[ _('Hosts'), _('%d allowed of %d').format(hosts.filter((host) => host.access == 'allow').length, status.hosts) ],
				[ _('Enrolled peers'), status.peers ],
				[ _('Live flows'), status.mappings ],
				[ _('Announced clients (TSN)'), status.guide ],
				[ _('Version, uptime'), `${status.version}, ${page.duration(status.uptime)}` ]
			);
		}

		page.fill(this.facts, page.facts(rows));
	},

	/* What is wrong in the configuration, as the daemon's own check says: file, line, section, option, what is accepted. */
	showProblems() {
		const check = this.now.check || {};
		const lists = [ [ _('Wrong in the configuration'), check.errors ], [ _('Odd in the configuration'), check.warnings ] ];

		page.fill(this.problems, lists.filter(([ , lines ]) => lines && lines.length).map(([ title, lines ]) =>
			el('div', { 'class': 'cbi-section' }, el('h3', {}, title), el('ul', {}, lines.map((line) => el('li', {}, el('code', {}, line)))))));
	},

	handleSave: null,
	handleSaveApply: null,
	handleReset: null
});
