'use strict';
'require baseclass';
'require natf.page as page';

/*
 * A table whose rows come again every few seconds. A row is kept by its key and only cells that differ are written, so
 * that scroll position, focus and marked text stay, also with thousands of rows.
 *
 * A column is { name, title, text(row), sort(row)?, right? } or, for controls that are built once for a row,
 * { name, title, build(row), refresh(cell, row)? }, where row() gives the row as it is at that moment.
 */
class LiveTable {
	constructor(options) {
		this.options = options;
		this.entries = new Map();
		this.words = [];
		this.sorted = options.sorted || null;
		this.descending = false;
		this.head = page.el('tr', { 'class': 'tr table-titles' }, options.columns.map((column) => this.title(column)));
		this.body = page.el('tbody', { 'class': 'tbody' });
		this.note = page.el('em', { 'aria-live': 'polite' });
		this.table = page.el('table', { 'class': 'table cbi-section-table', 'aria-label': options.label },
			page.el('thead', { 'class': 'thead' }, this.head), this.body);
		this.node = page.el('div', {}, this.table, page.el('p', {}, this.note));
		this.mark();
	}

	title(column) {
		const attributes = { 'class': column.right ? 'th right' : 'th', 'scope': 'col', 'data-column': column.name };

		if (!column.text)
			return page.el('th', Object.assign(attributes, { 'class': 'th cbi-section-actions' }), column.title);

		const sort = () => this.sort(column.name);

		return page.el('th', Object.assign(attributes, {
			'tabindex': 0,
			'data-sortable-row': '',
			'title': _('Sort by this column'),
			'click': sort,
			'keydown': function(event) {
				if (event.key == 'Enter' || event.key == ' ') {
					event.preventDefault();
					sort();
				}
			}
		}), column.title);
	}

	/* The rows as they are now. */
	update(rows) {
		const keys = new Set();

		for (const row of rows) {
			const key = this.options.key(row);

			keys.add(key);
			this.write(this.entries.get(key) || this.add(key, row), row);
		}

		for (const [ key, entry ] of this.entries) {
			if (!keys.has(key)) {
				entry.tr.remove();
				this.entries.delete(key);
			}
		}

		this.arrange();
	}

	add(key, row) {
		const entry = { row: row, cells: [] };

		entry.tr = page.el('tr', { 'class': 'tr', 'data-key': key }, this.options.columns.map(function(column) {
			const cell = page.el('td', {
				'class': column.build ? 'td cbi-section-actions' : (column.right ? 'td right' : 'td'),
				'data-name': column.name,
				'data-title': column.build ? null : column.title
			}, column.build ? column.build(() => entry.row) : []);

			entry.cells.push(cell);

			return cell;
		}));
		this.entries.set(key, entry);

		return entry;
	}

	write(entry, row) {
		const texts = this.options.columns.map((column) => column.text ? column.text(row) : '');

		entry.row = row;
		entry.words = texts.join('\n').toLowerCase();
		this.options.columns.forEach(function(column, at) {
			if (column.text)
				page.write(entry.cells[at], texts[at]);
			else if (column.refresh)
				column.refresh(entry.cells[at], row);
		});
	}

	/* Shows only rows that have all words of the text. */
	filter(text) {
		this.words = text.toLowerCase().split(/\s+/).filter((word) => word != '');
		this.arrange();
	}

	sort(name) {
		this.descending = this.sorted == name && !this.descending;
		this.sorted = name;
		this.mark();
		this.arrange();
	}

	mark() {
		for (const th of this.head.children) {
			const is = th.getAttribute('data-column') == this.sorted;

			if (th.hasAttribute('data-sortable-row'))
				th.setAttribute('aria-sort', is ? (this.descending ? 'descending' : 'ascending') : 'none');

			if (is)
				th.setAttribute('data-sort-direction', this.descending ? 'desc' : 'asc');
			else
				th.removeAttribute('data-sort-direction');
		}
	}

	order() {
		const column = this.options.columns.find((one) => one.name == this.sorted);
		const entries = Array.from(this.entries.values());

		if (!column)
			return entries;

		const value = column.sort || column.text;
		const keyed = entries.map((entry) => [ value(entry.row), entry ]);
		const sign = this.descending ? -1 : 1;

		/* Rows of equal value keep their order, whichever way. */
		keyed.sort(([ a ], [ b ]) => sign * (typeof(a) == 'number' && typeof(b) == 'number'
			? a - b : L.naturalCompare(String(a), String(b))));

		return keyed.map(([ , entry ]) => entry);
	}

	/* Puts rows into their order with few moves, as a moved row loses the focus. */
	arrange() {
		const focused = this.body.contains(document.activeElement) ? document.activeElement : null;
		let at = this.body.firstChild;
		let shown = 0;

		for (const entry of this.order()) {
			const fits = this.words.every((word) => entry.words.includes(word));

			entry.tr.style.display = fits ? '' : 'none';
			shown += fits ? 1 : 0;

			if (at && at !== entry.tr && at.nextSibling === entry.tr) {
				this.body.appendChild(at);
				at = entry.tr;
			}

			if (at === entry.tr)
				at = at.nextSibling;
			else
				this.body.insertBefore(entry.tr, at);
		}

		if (focused && focused !== document.activeElement)
			focused.focus({ preventScroll: true });

		page.write(this.note, this.entries.size == 0 ? this.options.empty
			: shown < this.entries.size ? _('%d of %d shown').format(shown, this.entries.size) : '');
	}
}

return baseclass.extend({
	create: (options) => new LiveTable(options)
});
