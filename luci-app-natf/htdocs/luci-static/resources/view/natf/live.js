'use strict';
'require view';
'require natf.calls as calls';
'require natf.page as page';
'require natf.table as table';

/*
 * What is open at this moment: the mappings, and the clients that TSN servers announced (the guide table). Both come anew
 * every few seconds.
 */

const SECONDS = 5;

const el = page.el;

/* Unknown sorts before all that is known. */
const or = (number) => number == null ? -1 : number;

const states = () => ({
	'live': _('live'), 'awaits first packet': _('awaits first packet'), 'inserting': _('being made')
});

const portOf = (address) => address.slice(address.lastIndexOf(':') + 1);

return view.extend({
	load() {
		return this.fetch();
	},

	fetch: () => Promise.all([ calls.settle(calls.mappings()), calls.settle(calls.guide()) ]),

	render(answers) {
		this.error = page.errorPlace();
		this.count = el('span', { 'role': 'status' });
		this.mappings = this.mappingTable();
		this.guide = this.guideTable();
		this.show(answers);
		this.refresh = page.watch(() => this.fetch().then((next) => this.show(next)), SECONDS);

		const filter = el('input', {
			'type': 'search', 'id': 'natf-filter', 'class': 'cbi-input-text', 'autocomplete': 'off',
			'placeholder': _('host, peer, address, port …'),
			'input': (event) => {
				this.mappings.filter(event.target.value);
				this.guide.filter(event.target.value);
			}
		});

		return el('div', { 'class': 'cbi-map' },
			el('h2', { 'name': 'content' }, _('Live')),
			page.readonlyNotice(),
			this.error.node,
			el('p', {}, el('label', { 'for': 'natf-filter', 'style': 'float:none;width:auto;padding-right:.5em' }, _('Filter')), filter, ' ', this.count),
			el('div', { 'class': 'cbi-section', 'id': 'natf-mappings' }, el('h3', {}, _('Flows')), this.mappings.node),
			el('div', { 'class': 'cbi-section', 'id': 'natf-guide' }, el('h3', {}, _('Announced clients (TSN)')),
				el('div', { 'class': 'cbi-section-descr' },
					_('While a row lives, new flows of its client to a service of the host are led to that host. Rows end by themselves.')),
				this.guide.node));
	},

	mappingTable() {
		return table.create({
			label: _('Flows'),
			key: (row) => row.id,
			sorted: 'host',
			empty: _('No live flow.'),
			columns: [
				{ name: 'host', title: _('Host'), text: (row) => row.host || '–' },
				{ name: 'peer', title: _('Peer'), text: (row) => row.peer == 'anyone' ? _('anyone') : row.peer },
				{ name: 'protocol', title: _('Protocol'), text: (row) => row.protocol },
				{ name: 'port', title: _('Port'), text: (row) => portOf(row.inside), sort: (row) => +portOf(row.inside), right: true },
				{ name: 'source', title: _('From'), text: (row) => row.source },
				{ name: 'mapped', title: _('At this router'), text: (row) => row.mapped },
				{ name: 'inside', title: _('To'), text: (row) => row.inside },
				{ name: 'state', title: _('State'), text: (row) => states()[row.state] || row.state },
				{ name: 'age', title: _('Age'), text: (row) => page.duration(row.age), sort: (row) => or(row.age), right: true },
				{ name: 'bytes', title: _('In / out'), text: (row) => row.bytes_in == null ? '–' : `${page.bytes(row.bytes_in)} / ${page.bytes(row.bytes_out)}`,
					sort: (row) => or(row.bytes_in) + or(row.bytes_out), right: true },
				{ name: 'remaining', title: _('Ends in'), text: (row) => page.duration(row.remaining), sort: (row) => or(row.remaining), right: true },
				{ name: 'end', title: _('Action'), build: (row) => page.button(_('End'), 'remove', () => this.end(row()),
					{ 'aria-label': _('End the flow from %s to %s').format(row().source, row().inside) }) }
			]
		});
	},

	guideTable() {
		return table.create({
			label: _('Announced clients'),
			key: (row) => `${row.source} ${row.host} ${row.peer}`,
			empty: _('No client is announced.'),
			columns: [
				{ name: 'host', title: _('Host'), text: (row) => row.host },
				{ name: 'peer', title: _('Announced by'), text: (row) => row.peer || '–' },
				{ name: 'source', title: _('Client'), text: (row) => row.source },
				{ name: 'services', title: _('Services'), text: (row) => row.services.join(', ') || _('everything') },
				{ name: 'inside', title: _('To'), text: (row) => row.inside || '–' },
				{ name: 'waiting', title: _('Flows awaited'), text: (row) => String(row.waiting), sort: (row) => row.waiting, right: true },
				{ name: 'remaining', title: _('Ends in'), text: (row) => page.duration(row.remaining), sort: (row) => or(row.remaining), right: true }
			]
		});
	},

	show([ mappings, guide ]) {
		this.error.show(mappings.error || guide.error);

		/* What was last known stays on the page while the daemon does not answer. */
		if (mappings.value) {
			this.mappings.update(mappings.value.rows);
			page.write(this.count, mappings.value.total > mappings.value.rows.length
				? _('The first %d of %d flows').format(mappings.value.rows.length, mappings.value.total)
				: _('Flows: %d').format(mappings.value.total));
		}

		if (guide.value)
			this.guide.update(guide.value.rows);
	},

	end(row) {
		return calls.end(row.id, row.source).then((answer) => {
			if (!answer.ended)
				page.notify(_('This flow has ended already.'));

			return this.refresh();
		}).catch((error) => page.notify(error.message, 'danger'));
	},

	handleSave: null,
	handleSaveApply: null,
	handleReset: null
});
