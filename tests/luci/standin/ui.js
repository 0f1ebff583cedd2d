/* LuCI.ui: dialogs, notifications, indicators, tabs, unsaved changes, and the widgets of forms. */
'use strict';
'require baseclass';
'require dom';
'require poll';
'require uci';
'require validation';

const overlay = document.body.appendChild(E('div', { 'id': 'modal_overlay', 'tabindex': -1 }, [
	E('div', { 'class': 'modal', 'role': 'dialog', 'aria-modal': true })
]));
const tooltip = document.body.appendChild(E('div', { 'class': 'cbi-tooltip', 'role': 'tooltip' }));

/* Labels of choices may be nodes. */
const label = (text) => dom.elem(text) ? text.cloneNode(true) : text;

/* ---- widgets ----------------------------------------------------------------------------------------------------- */

const AbstractElement = baseclass.extend({
	__init__(value, options) {
		this.value = value;
		this.options = { optional: true, ...options };
	},

	getValue() {
		return this.node.querySelector('input, select, textarea')?.value ?? null;
	},

	setValue(value) {
		this.node.querySelector('input, select, textarea').value = value;
	},

	isChanged() {
		return this.node?.getAttribute('data-changed') == 'true';
	},

	isValid() {
		return this.validState !== false;
	},

	getValidationError() {
		return this.validationError || '';
	},

	triggerValidation() {
		const before = this.isValid();
		this.vfunc?.();
		return before != this.isValid();
	},

	/* Every change of the field is told to the form and judged. */
	watch(field, ...events) {
		const { datatype, optional, validate } = this.options;
		events.forEach((name) => field.addEventListener(name, () => {
			this.node.setAttribute('data-changed', true);
			this.node.dispatchEvent(new CustomEvent('widget-change', { bubbles: true }));
		}));
		dom.bindClassInstance(this.node, this);
		if (!datatype && !validate)
			return;
		this.node.addEventListener('validation-success', () => Object.assign(this, { validState: true, validationError: '' }));
		this.node.addEventListener('validation-failure', (ev) =>
			Object.assign(this, { validState: false, validationError: ev.detail.message }));
		const validator = validation.create(field, datatype || 'string', optional, validate);
		this.vfunc = () => validator.validate();
		[ ...events, 'keyup', 'blur' ].forEach((name) => field.addEventListener(name, this.vfunc));
	}
});

const Textfield = AbstractElement.extend({
	render() {
		const { id, password, placeholder, disabled, readonly, maxlength } = this.options;
		const input = E('input', {
			'id': id ? `widget.${id}` : null, 'type': password ? 'password' : 'text', 'class': 'cbi-input-text', 'value': this.value,
			'placeholder': placeholder, 'disabled': disabled || null, 'readonly': readonly || null, 'maxlength': maxlength
		});
		this.node = E('div', { 'id': id }, [ input ]);
		this.watch(input, 'change');
		return this.node;
	}
});

const Textarea = AbstractElement.extend({
	render() {
		const { id, placeholder, disabled, readonly, rows } = this.options;
		const area = E('textarea', {
			'id': id ? `widget.${id}` : null, 'class': 'cbi-input-textarea', 'placeholder': placeholder,
			'disabled': disabled || null, 'readonly': readonly || null, 'rows': rows
		}, [ this.value ?? '' ]);
		this.node = E('div', { 'id': id }, [ area ]);
		this.watch(area, 'change');
		return this.node;
	}
});

const Checkbox = AbstractElement.extend({
	__init__(value, options) {
		this.value = value;
		this.options = { value_enabled: '1', value_disabled: '0', ...options };
	},

	render() {
		const { id, value_enabled, disabled } = this.options;
		const own = `cb${Math.random().toString(16).slice(2)}`;
		const input = E('input', {
			'id': own, 'type': 'checkbox', 'checked': this.value == value_enabled ? '' : null, 'disabled': disabled || null,
			'data-widget-id': id ? `widget.${id}` : null
		});
		this.node = E('div', { 'id': id, 'class': 'cbi-checkbox' }, [ input, E('label', { 'for': own }) ]);
		this.watch(input, 'change');
		return this.node;
	},

	isChecked() {
		return this.node.querySelector('input').checked;
	},

	getValue() {
		return this.isChecked() ? this.options.value_enabled : this.options.value_disabled;
	},

	setValue(value) {
		this.node.querySelector('input').checked = value == this.options.value_enabled;
	}
});

/* A <select>, or radio buttons, or check boxes. */
const Select = AbstractElement.extend({
	__init__(value, choices, options) {
		this.values = L.toArray(value);
		this.choices = choices || {};
		this.options = { optional: true, ...options };
	},

	render() {
		this.node = E('div', { 'id': this.options.id });
		if (this.options.widget == 'radio' || this.options.widget == 'checkbox')
			this.renderButtons();
		else
			this.node.append(this.renderSelect());
		this.watch(this.node.firstElementChild.matches('select') ? this.node.firstElementChild : this.node, 'change');
		return this.node;
	},

	keys() {
		return (Array.isArray(this.options.sort) ? this.options.sort : Object.keys(this.choices)).filter((key) => key != '');
	},

	renderSelect() {
		const { id, optional, disabled, multiple, placeholder } = this.options;
		const empty = E('option', { 'value': '' }, [ this.choices[''] ?? placeholder ?? _('-- Please choose --') ]);
		return E('select', {
			'id': id ? `widget.${id}` : null, 'class': 'cbi-input-select', 'disabled': disabled || null, 'multiple': multiple ? '' : null
		}, [
			optional ? empty : null,
			...this.keys().map((key) => E('option', { 'value': key, 'selected': this.values.includes(key) ? '' : null },
				[ label(this.choices[key]) ?? key ]))
		]);
	},

	renderButtons() {
		const { id, widget, disabled } = this.options;
		this.keys().forEach((key, i) => this.node.append(E('span', { 'class': `cbi-${widget}` }, [
			E('input', { 'id': `widget.${id}.${i}`, 'name': id, 'type': widget, 'value': key, 'disabled': disabled || null,
				'checked': this.values.includes(key) ? '' : null }),
			E('label', { 'for': `widget.${id}.${i}` }, [ label(this.choices[key]) ?? key ])
		]), ' \u00a0 '));
	},

	getValue() {
		const chosen = [ ...this.node.querySelectorAll('option:checked, input:checked') ].map((node) => node.value);
		return this.options.multiple ? chosen : chosen[0] ?? '';
	},

	setValue(value) {
		const values = L.toArray(value);
		this.node.querySelectorAll('option, input').forEach((node) =>
			node[node.matches('option') ? 'selected' : 'checked'] = values.includes(node.value));
	}
});

/* The real dropdown, reduced to what it offers: some of the choices and, if `create` is set, other values. */
const Dropdown = AbstractElement.extend({
	__init__(value, choices, options) {
		this.values = L.toArray(value);
		this.choices = choices || {};
		this.options = { optional: true, ...options };
	},

	render() {
		const { id, multiple, create } = this.options;
		this.node = E('div', { 'id': id, 'class': 'cbi-dropdown', 'multiple': multiple ? '' : null });
		const keys = [ ...new Set([ ...this.keys(), ...this.values ]) ];
		if (multiple)
			this.node.append(E('ul', {}, keys.map((key) => this.renderItem(key))));
		if (multiple && create)
			this.node.append(this.renderOther('create-item-input'));
		if (!multiple)
			this.node.append(...this.renderSingle(keys));
		this.watch(this.node.querySelector('input[type="text"], select') || this.node, 'change');
		return this.node;
	},

	keys() {
		return Array.isArray(this.options.sort) ? this.options.sort : Object.keys(this.choices);
	},

	renderItem(key) {
		return E('li', { 'data-value': key }, [ E('label', {}, [
			E('input', { 'type': 'checkbox', 'value': key, 'checked': this.values.includes(key) ? '' : null,
				'disabled': this.options.disabled || null }),
			' ', label(this.choices[key]) ?? key
		]) ]);
	},

	renderOther(kind) {
		const input = E('input', { 'type': 'text', 'class': kind, 'placeholder': this.options.custom_placeholder || '',
			'disabled': this.options.disabled || null, 'aria-label': _('-- custom --') });
		input.addEventListener('keydown', (ev) => {
			if (ev.key != 'Enter' || input.value == '' || input.classList.contains('cbi-input-invalid'))
				return;
			ev.preventDefault();
			this.values = [ ...this.getValue(), input.value ];
			this.node.querySelector('ul').append(this.renderItem(input.value));
			input.value = '';
			input.dispatchEvent(new Event('change'));
		});
		return input;
	},

	/* One value: of a list, or of a list that only proposes. */
	renderSingle(keys) {
		const { id, create, disabled, placeholder } = this.options;
		if (!create)
			return [ E('select', { 'id': `widget.${id}`, 'disabled': disabled || null }, [
				this.options.optional ? E('option', { 'value': '' }, [ this.choices[''] ?? _('-- Please choose --') ]) : null,
				...keys.filter((key) => key != '').map((key) =>
					E('option', { 'value': key, 'selected': this.values.includes(key) ? '' : null }, [ label(this.choices[key]) ?? key ]))
			]) ];
		return [
			E('input', { 'id': id ? `widget.${id}` : null, 'type': 'text', 'list': `list.${id}`, 'value': this.values.join(' '),
				'placeholder': typeof(placeholder) == 'string' ? placeholder : null, 'disabled': disabled || null }),
			E('datalist', { 'id': `list.${id}` }, keys.map((key) =>
				E('option', { 'value': key }, [ label(this.choices[key]) ?? key ])))
		];
	},

	getValue() {
		if (!this.options.multiple)
			return this.node.querySelector('select, input')?.value ?? '';
		return [ ...this.node.querySelectorAll('li input:checked') ].map((input) => input.value);
	},

	setValue(value) {
		this.values = L.toArray(value);
		if (this.options.multiple)
			this.node.querySelectorAll('li input').forEach((input) => input.checked = this.values.includes(input.value));
		else
			this.node.querySelector('select, input').value = this.values.join(' ');
	}
});

const Combobox = Dropdown.extend({
	__init__(value, choices, options) {
		this.super('__init__', [ value, choices, { ...options, multiple: false, create: true } ]);
	}
});

/* A button with several meanings; the first is what a click does. */
const ComboButton = AbstractElement.extend({
	__init__(value, choices, options) {
		Object.assign(this, { value, choices, options: options || {} });
	},

	render() {
		const { classes, click, disabled } = this.options;
		return E('button', { 'class': classes?.[this.value] || 'btn cbi-button', 'disabled': disabled || null,
			'click': (ev) => click?.call(this, ev, this.value) }, L.toArray(this.choices[this.value]));
	}
});

const DynamicList = AbstractElement.extend({
	__init__(values, choices, options) {
		this.values = Array.isArray(values) ? values : values ? [ values ] : [];
		this.choices = choices;
		this.options = { ...options, optional: true };
	},

	render() {
		const { id, placeholder, disabled } = this.options;
		const input = E('input', { 'id': id ? `widget.${id}` : null, 'type': 'text', 'placeholder': placeholder,
			'disabled': disabled || null, 'list': this.choices ? `list.${id}` : null });
		const add = E('button', { 'type': 'button', 'class': 'btn cbi-button cbi-button-add', 'aria-label': _('Add'),
			'disabled': disabled || null, 'click': () => this.take(input) }, [ '+' ]);
		const proposals = this.choices ? E('datalist', { 'id': `list.${id}` }, Object.keys(this.choices).map((key) =>
			E('option', { 'value': key }, [ label(this.choices[key]) ]))) : null;
		input.addEventListener('keydown', (ev) => {
			if (ev.key != 'Enter')
				return;
			ev.preventDefault();
			this.take(input);
		});
		this.node = E('div', { 'id': id, 'class': 'cbi-dynlist' }, [
			E('div', { 'class': 'add-item control-group' }, [ input, proposals, add ])
		]);
		this.values.forEach((value) => this.addItem(value));
		this.watch(input, 'change');
		return this.node;
	},

	take(input) {
		if (input.value == '' || input.classList.contains('cbi-input-invalid'))
			return;
		if (this.options.allowduplicates || !this.items().includes(input.value))
			this.addItem(input.value);
		input.value = '';
		this.node.dispatchEvent(new CustomEvent('widget-change', { bubbles: true }));
		input.dispatchEvent(new Event('blur'));
	},

	addItem(value) {
		const text = label(this.choices?.[value]) ?? value;
		this.node.lastElementChild.before(E('div', { 'class': 'item' }, [
			E('span', {}, [ text ]),
			E('input', { 'type': 'hidden', 'value': value }),
			E('button', { 'type': 'button', 'class': 'btn', 'aria-label': `${_('Delete')} ${value}`, 'disabled': this.options.disabled || null,
				'click': (ev) => {
					ev.currentTarget.parentNode.remove();
					this.node.dispatchEvent(new CustomEvent('widget-change', { bubbles: true }));
				} }, [ '×' ])
		]));
	},

	items() {
		return [ ...this.node.querySelectorAll('.item > input') ].map((input) => input.value);
	},

	/* What stands in the field counts, too. */
	getValue() {
		const input = this.node.querySelector('.add-item > input');
		const open = input.value != '' && !input.classList.contains('cbi-input-invalid') && !this.items().includes(input.value);
		return open ? [ ...this.items(), input.value ] : this.items();
	},

	setValue(values) {
		this.node.querySelectorAll('.item').forEach((item) => item.remove());
		L.toArray(values).forEach((value) => this.addItem(value));
	}
});

const Hiddenfield = AbstractElement.extend({
	render() {
		this.node = E('div', { 'id': this.options.id }, [ E('input', { 'type': 'hidden', 'value': this.value }) ]);
		dom.bindClassInstance(this.node, this);
		return this.node;
	}
});

const Table = baseclass.extend({
	__init__(captions, options, placeholder) {
		this.options = options || {};
		this.placeholder = placeholder;
		this.body = E('tbody', {});
		this.captions = captions;
		this.node = E('table', { 'id': this.options.id, 'class': 'table' }, [
			E('thead', {}, [ E('tr', { 'class': 'tr table-titles' },
				captions.map((caption) => E('th', { 'class': 'th' }, [ caption ]))) ]),
			this.body
		]);
		L.toArray(this.options.classes).forEach((name) => this.node.classList.add(name));
		this.update([]);
	},

	update(rows, placeholder) {
		const empty = placeholder || this.placeholder;
		this.body.replaceChildren(...rows.map((row, n) => E('tr', { 'class': `tr cbi-rowstyle-${n % 2 + 1}` },
			row.map((cell, i) => E('td', { 'class': 'td', 'data-title': this.captions[i] },
				Array.isArray(cell) ? cell[1] : cell ?? '')))));
		if (!rows.length && empty)
			this.body.append(E('tr', { 'class': 'tr placeholder' }, [ E('td', { 'class': 'td' }, empty) ]));
		return this.node;
	},

	render() {
		return this.node;
	}
});

/* ---- tabs -------------------------------------------------------------------------------------------------------- */

const tabs = {
	/* Nodes with data-tab and data-tab-title that stand side by side become panes. */
	initTabGroup(panes) {
		panes = [ ...panes ].filter((pane) => pane.getAttribute?.('data-tab') != null);
		if (!panes.length || panes[0].parentNode.getAttribute('data-initialized'))
			return;
		const group = panes[0].parentNode;
		const menu = E('ul', { 'class': 'cbi-tabmenu' });
		group.setAttribute('data-initialized', true);
		group.before(menu);
		panes.forEach((pane) => menu.append(E('li', { 'data-tab': pane.getAttribute('data-tab') }, [
			E('a', { 'href': '#', 'click': (ev) => {
				ev.preventDefault();
				this.show(menu, panes, pane);
			} }, [ pane.getAttribute('data-tab-title') ])
		])));
		this.show(menu, panes, panes.find((pane) => pane.getAttribute('data-tab-active') == 'true') || panes[0]);
	},

	show(menu, panes, chosen) {
		for (const pane of panes) {
			const active = pane === chosen;
			const item = [ ...menu.children ].find((li) => li.getAttribute('data-tab') == pane.getAttribute('data-tab'));
			pane.setAttribute('data-tab-active', active);
			item.className = active ? 'cbi-tab' : 'cbi-tab-disabled';
		}
		chosen.dispatchEvent(new CustomEvent('cbi-tab-active', { detail: { tab: chosen.getAttribute('data-tab') } }));
	},

	updateTabs() {}
};

/* ---- unsaved changes --------------------------------------------------------------------------------------------- */

const changes = {
	async init() {
		this.changes = await uci.changes();
		this.setIndicator(Object.values(this.changes).reduce((sum, list) => sum + list.length, 0));
	},

	setIndicator(count) {
		if (count > 0)
			ui.showIndicator('uci-changes', '%s: %d'.format(_('Unsaved Changes'), count), () => this.displayChanges());
		else
			ui.hideIndicator('uci-changes');
	},

	displayChanges() {
		const lines = Object.entries(this.changes).flatMap(([ config, list ]) => [
			E('h5', {}, [ `# /etc/config/${config}` ]),
			...list.map((change) => E('code', {}, [ change.join(' '), E('br') ]))
		]);
		ui.showModal(`${_('Configuration')} / ${_('Changes')}`, [
			E('div', { 'class': 'uci-change-list' }, lines),
			E('div', { 'class': 'right' }, [
				E('button', { 'class': 'btn', 'click': ui.hideModal }, [ _('Close') ]), ' ',
				E('button', { 'class': 'btn cbi-button-positive important', 'click': () => this.apply(true) }, [ _('Save & Apply') ])
			])
		]);
	},

	/* The real one goes the way of /cgi-bin/luci/admin/uci/apply_rollback; behind that is the same ubus call. */
	async apply(checked) {
		ui.showModal(null, [ E('p', { 'class': 'spinning' }, [ _('Starting configuration apply…') ]) ]);
		try {
			await uci.callApply(L.env.apply_rollback, Boolean(checked));
			if (checked)
				await uci.callConfirm();
			document.dispatchEvent(new CustomEvent('uci-applied'));
			location.reload();
		}
		catch (problem) {
			ui.hideModal();
			ui.addNotification(null, E('p', {}, [ _('Apply request failed with status %s').format(problem.message) ]), 'warning');
		}
	}
};

/* ---- ui ---------------------------------------------------------------------------------------------------------- */

const UI = baseclass.extend({
	__init__() {
		overlay.addEventListener('keydown', (ev) => {
			if (ev.key == 'Escape')
				overlay.querySelector('.right > button, .right > .btn, .button-row > .btn')?.click();
		});
		document.addEventListener('mouseover', (ev) => this.showTooltip(ev), true);
		document.addEventListener('focus', (ev) => this.showTooltip(ev), true);
		document.addEventListener('poll-start', () => this.showIndicator('poll-status', _('Refreshing'),
			() => poll.active() ? poll.stop() : poll.start()));
		document.addEventListener('poll-stop', () => this.showIndicator('poll-status', _('Paused'), null, 'inactive'));
		document.addEventListener('luci-loaded', () => changes.init());
		document.addEventListener('uci-loaded', () => changes.init());
	},

	/* The title is HTML if it is a string, as the real one's. */
	showModal(title, children, ...classes) {
		const dialog = overlay.firstElementChild;
		dialog.className = [ 'modal', ...classes ].join(' ');
		dom.content(dialog, E('h4', {}, title));
		dom.append(dialog, children);
		document.body.classList.add('modal-overlay-active');
		overlay.scrollTop = 0;
		overlay.focus();
		return dialog;
	},

	hideModal() {
		document.body.classList.remove('modal-overlay-active');
		overlay.blur();
	},

	showTooltip(ev) {
		const target = ev.target.closest?.('[data-tooltip]');
		tooltip.textContent = target?.getAttribute('data-tooltip') || '';
		tooltip.classList.toggle('shown', Boolean(target));
		const place = target?.getBoundingClientRect();
		if (place)
			Object.assign(tooltip.style, { left: `${place.left + scrollX}px`, top: `${place.bottom + scrollY}px` });
	},

	addNotification(title, children, ...classes) {
		const body = E('div', { 'style': 'flex:10' });
		const message = E('div', { 'class': [ 'alert-message', ...classes ].join(' '), 'style': 'display:flex' }, [
			body,
			E('button', { 'class': 'btn', 'click': () => message.remove() }, [ _('Dismiss') ])
		]);
		if (title != null)
			dom.append(body, E('h4', {}, title));
		dom.append(body, children);
		document.querySelector('#maincontent').prepend(message);
		return message;
	},

	addTimeLimitedNotification(title, children, timeout, ...classes) {
		const message = this.addNotification(title, children, ...classes);
		if (timeout > 0)
			window.setTimeout(() => message.remove(), timeout);
		return message;
	},

	showIndicator(id, text, handler, style) {
		const place = document.querySelector('#indicators');
		let node = place.querySelector(`[data-indicator="${id}"]`);
		if (!node)
			node = place.appendChild(E('span', { 'data-indicator': id, 'data-clickable': handler ? true : null, 'click': handler }));
		node.textContent = text;
		node.setAttribute('data-style', style == 'inactive' ? 'inactive' : 'active');
		return true;
	},

	hideIndicator(id) {
		const node = document.querySelector(`#indicators [data-indicator="${id}"]`);
		node?.remove();
		return Boolean(node);
	},

	itemlist(node, items, separator) {
		const children = [];
		for (let i = 0; i < items.length; i += 2) {
			if (items[i + 1] == null)
				continue;
			if (children.length)
				children.push(label(separator ?? E('br')));
			children.push(E('span', { 'class': 'nowrap' }, [ items[i] ? E('strong', `${items[i]}: `) : '', items[i + 1] ]));
		}
		dom.content(node, children);
		return node;
	},

	addValidator(field, type, optional, vfunc, ...events) {
		const validator = validation.create(field, type, optional, vfunc);
		(events.length ? events : [ 'blur', 'keyup' ]).forEach((name) => field.addEventListener(name, () => validator.validate()));
		validator.validate();
		return () => validator.validate();
	},

	/* The handler of a click: what started it is out of use until it is done. */
	createHandlerFn(context, fn, ...parameters) {
		const handler = typeof(fn) == 'string' ? context[fn] : fn;
		return handler ? (...events) => {
			const target = events[0].currentTarget;
			target.classList.add('spinning');
			target.disabled = true;
			target.blur();
			Promise.resolve(handler.call(context, ...parameters, ...events)).finally(() => {
				target.classList.remove('spinning');
				target.disabled = false;
			});
		} : null;
	},

	tabs, changes, Table, AbstractElement, Textfield, Textarea, Checkbox, Select, Dropdown, Combobox, ComboButton, DynamicList,
	Hiddenfield
});

const ui = UI.prototype;
return UI;
