/*
 * LuCI.form: a map of sections of options, drawn from the configuration, judged, and written back to it. What the
 * documentation says that HTML is made of (titles, descriptions, string results of textvalue()) becomes HTML here, too.
 */
'use strict';
'require baseclass';
'require dom';
'require ui';
'require uci';
'require rpc';

const mayWrite = rpc.declare({
	object: 'session', method: 'access', params: [ 'scope', 'object', 'function' ], expect: { access: false }
});

/* Is what a field has the value that another option depends on? */
function equals(value, wanted) {
	if (wanted instanceof RegExp)
		return value != null && wanted.test(value);
	return JSON.stringify(value ?? null) == JSON.stringify(wanted ?? null);
}

const contains = (value, wanted) => Array.isArray(value) || typeof(value) == 'string' ? value.includes(wanted) : false;

/* ---- data of a JSONMap ------------------------------------------------------------------------------------------ */

const JSONConfig = baseclass.extend({
	__init__(data) {
		this.data = {};
		let index = 0;
		for (const [ type, value ] of Object.entries(data || {}))
			(Array.isArray(value) ? value : [ value ]).forEach((item) => {
				const name = Array.isArray(value) ? item['.name'] || `${type}${index}` : type;
				this.data[name] = Object.assign(item, { '.name': name, '.type': type, '.anonymous': false, '.index': index++ });
			});
	},

	load: () => Promise.resolve(),
	save: () => Promise.resolve(),

	get(config, sid, option) {
		return option == null ? this.data[sid] : this.data[sid]?.[option] ?? null;
	},

	set(config, sid, option, value) {
		if (value == null)
			delete this.data[sid]?.[option];
		else if (this.data[sid])
			this.data[sid][option] = value;
	},

	unset(config, sid, option) {
		this.set(config, sid, option, null);
	},

	sections(config, type, callback) {
		const found = Object.values(this.data).filter((section) => !type || section['.type'] == type);
		found.forEach((section) => callback?.call(this, section, section['.name']));
		return found;
	},

	add(config, type, name) {
		const sid = name || `${type}${Object.keys(this.data).length}`;
		this.data[sid] = { '.name': sid, '.type': type, '.anonymous': !name, '.index': Object.keys(this.data).length };
		return sid;
	},

	remove(config, sid) {
		delete this.data[sid];
	}
});

/* ---- what maps, sections and options have in common ------------------------------------------------------------- */

const AbstractElement = baseclass.extend({
	__init__(title, description) {
		this.title = title ?? '';
		this.description = description ?? '';
		this.children = [];
	},

	append(child) {
		this.children.push(child);
	},

	stripTags(text) {
		return /[<>&]/.test(text) ? dom.parse(`<div>${text}</div>`).textContent : text;
	},

	/* A title that may be a function; null where there is none. */
	titleFn(attribute, ...parameters) {
		const given = this[attribute];
		const text = typeof(given) == 'function' ? given.apply(this, parameters) : given?.format?.(...parameters);
		return text == null ? null : this.stripTags(String(text)).trim() || null;
	}
});

const Map = AbstractElement.extend({
	__init__(config, ...rest) {
		this.super('__init__', rest);
		Object.assign(this, { config, parsechain: [ config ], data: uci });
	},

	chain(config) {
		this.parsechain.push(config);
	},

	section(Type, ...parameters) {
		const section = Type.instantiate([ this, ...parameters ]);
		this.append(section);
		return section;
	},

	findElement(attribute, value) {
		const selector = value === undefined ? attribute : `[${attribute}="${CSS.escape(value)}"]`;
		return this.root?.querySelector(selector) ?? null;
	},

	async load() {
		const [ allowed ] = await Promise.all([
			this.data !== uci || this.readonly != null ? true : mayWrite('uci', this.config, 'write'),
			this.data.load(this.parsechain)
		]);
		if (!allowed)
			this.readonly = true;
		await Promise.all(this.children.map((section) => section.load()));
	},

	parse() {
		return Promise.all(this.children.map((section) => section.parse()));
	},

	async save(callback, silent) {
		this.checkDepends();
		try {
			await this.parse();
			await callback?.();
			await this.data.save();
			await this.load();
		}
		catch (problem) {
			if (!silent)
				ui.showModal(_('Save error'), [
					E('p', {}, [ _('An error occurred while saving the form:') ]),
					E('p', {}, [ E('em', { 'style': 'white-space:pre-wrap' }, [ problem.message ]) ]),
					E('div', { 'class': 'right' }, [ E('button', { 'class': 'cbi-button', 'click': ui.hideModal }, [ _('Dismiss') ]) ])
				]);
			throw problem;
		}
		return this.renderContents();
	},

	reset() {
		return this.renderContents();
	},

	async render() {
		await this.load();
		return this.renderContents();
	},

	async renderContents() {
		const root = this.root ??= E('div', { 'id': `cbi-${this.config}`, 'class': 'cbi-map' });
		dom.bindClassInstance(root, this);
		const nodes = await Promise.all(this.children.map((section) => section.render()));
		dom.content(root, null);
		if (this.title)
			root.append(E('h2', { 'name': 'content' }, this.title));
		if (this.description)
			root.append(E('div', { 'class': 'cbi-map-descr' }, this.description));
		dom.append(root, this.tabbed ? E('div', { 'class': 'cbi-map-tabbed' }, nodes) : nodes);
		this.checkDepends();
		root.querySelectorAll('.cbi-map-tabbed, .cbi-section-node-tabbed').forEach((group) => ui.tabs.initTabGroup(group.childNodes));
		return root;
	},

	lookupOption(name, sid, config) {
		const cbid = name.includes('.') ? `cbid.${name}` : `cbid.${config || this.config}.${sid}.${name}`;
		const field = this.findElement('data-field', cbid);
		return field ? [ dom.findClassInstance(field), sid ] : null;
	},

	checkDepends(ev, round = 0) {
		const changed = this.children.map((section) => section.checkDepends(round)).some(Boolean);
		if (changed && round < 10)
			this.checkDepends(ev, round + 1);
	},

	isDependencySatisfied(dependencies, config, sid) {
		const holds = (name, wanted, test) => {
			const [ option ] = this.lookupOption(name, sid, config) || [];
			return test(option?.isActive(sid) ? option.formvalue(sid) : null, wanted);
		};
		return !dependencies.length || dependencies.some((dependency) => {
			const names = Object.keys(dependency).filter((name) => !name.startsWith('!'));
			const test = dependency['!contains'] ? contains : equals;
			return names.every((name) => holds(name, dependency[name], test)) != Boolean(dependency['!reverse']);
		});
	}
});

const JSONMap = Map.extend({
	__init__(data, ...rest) {
		this.super('__init__', [ 'json', ...rest ]);
		this.data = new JSONConfig(data);
	}
});

/* ---- sections --------------------------------------------------------------------------------------------------- */

const AbstractSection = AbstractElement.extend({
	__init__(map, sectiontype, ...rest) {
		this.super('__init__', rest);
		Object.assign(this, { map, sectiontype, config: map.config, addremove: false });
	},

	filter: () => true,

	configName() {
		return this.uciconfig ?? this.map.config;
	},

	load() {
		return Promise.all(this.cfgsections().flatMap((sid) => this.children.map((option) =>
			Promise.resolve(option.load(sid)).then((value) => option.cfgvalue(sid, value)))));
	},

	parse() {
		return Promise.all(this.cfgsections().flatMap((sid) => this.children.map((option) => option.parse(sid))));
	},

	option(Type, ...parameters) {
		const option = Type.instantiate([ this.map, this, ...parameters ]);
		this.append(option);
		return option;
	},

	tab(name, title, description) {
		this.tabs = this.tabs || [];
		this.tabs.push({ name, title, description });
	},

	taboption(tab, ...parameters) {
		const option = this.option(...parameters);
		option.tab = tab;
		return option;
	},

	getOption(name) {
		return this.children.find((option) => option.option == name) ?? null;
	},

	getUIElement(sid, name) {
		return this.getOption(name)?.getUIElement(sid) ?? null;
	},

	formvalue(sid, name) {
		return this.getOption(name)?.formvalue(sid) ?? null;
	},

	cfgvalue(sid, name) {
		return this.getOption(name)?.cfgvalue(sid) ?? null;
	},

	async renderUCISection(sid) {
		if (!this.tabs)
			return this.renderOptions(this.children, sid);
		const panes = await Promise.all(this.tabs.map(async (tab) => E('div', {
			'data-tab': tab.name, 'data-tab-title': tab.title
		}, [
			tab.description ? E('div', { 'class': 'cbi-tab-descr' }, tab.description) : null,
			await this.renderOptions(this.children.filter((option) => option.tab == tab.name), sid)
		])));
		return E([], panes);
	},

	async renderOptions(options, sid) {
		const nodes = await Promise.all(options.map((option, index) => option.render(index, sid, this instanceof TableSection)));
		return E([], nodes);
	},

	checkDepends(round) {
		let changed = false;
		for (const sid of this.cfgsections().filter((one) => this.map.findElement('data-section-id', one)))
			for (const option of this.children) {
				const wanted = option.checkDepends(sid);
				if (option.isActive(sid) != wanted)
					changed = option.setActive(sid, wanted) || changed;
				if (!round && wanted)
					option.triggerValidation(sid);
			}
		return changed;
	},

	heading() {
		return [
			this.title && !this.hidetitle ? E('h3', {}, this.title) : null,
			this.description ? E('div', { 'class': 'cbi-section-descr' }, this.description) : null
		];
	},

	tabAttributes() {
		return this.map.tabbed ? { 'data-tab': this.sectiontype, 'data-tab-title': this.title || this.sectiontype } : {};
	}
});

const TypedSection = AbstractSection.extend({
	cfgsections() {
		return this.map.data.sections(this.configName(), this.sectiontype).map((section) => section['.name'])
			.filter((sid) => this.filter(sid));
	},

	handleAdd(ev, name) {
		this.map.data.add(this.configName(), this.sectiontype, name);
		return this.map.save(null, true);
	},

	handleRemove(sid) {
		this.map.data.remove(this.configName(), sid);
		return this.map.save(null, true);
	},

	renderSectionAdd(extra) {
		if (!this.addremove)
			return E([]);
		const title = this.titleFn('addbtntitle') ?? _('Add');
		const name = this.anonymous ? null : E('input', { 'type': 'text', 'class': 'cbi-section-create-name', 'aria-label': _('Name'),
			'disabled': this.map.readonly || null });
		const button = E('button', {
			'class': 'cbi-button cbi-button-add', 'title': title, 'disabled': this.map.readonly || null,
			'click': ui.createHandlerFn(this, (ev) =>
				name?.value == '' || name?.classList.contains('cbi-input-invalid') ? null : this.handleAdd(ev, name?.value))
		}, [ title ]);
		if (name && !this.map.readonly)
			ui.addValidator(name, 'uciname', true, (value) =>
				value == '' || !this.map.data.get(this.configName(), value) || _('The section name is already used'));
		return E('div', { 'class': `cbi-section-create ${extra || ''}` }, [ name, button ]);
	},

	renderSectionPlaceholder: () => E('em', _('This section contains no values yet')),

	async render() {
		const sids = this.cfgsections();
		const nodes = await Promise.all(sids.map((sid) => this.renderUCISection(sid)));
		const node = this.renderContents(sids, nodes);
		dom.bindClassInstance(node, this);
		return node;
	},

	renderContents(sids, nodes) {
		return E('div', { 'id': `cbi-${this.configName()}-${this.sectiontype}`, 'class': 'cbi-section', ...this.tabAttributes() }, [
			...this.heading(),
			...sids.flatMap((sid, i) => [
				this.addremove ? E('div', { 'class': 'cbi-section-remove right' }, [ this.removeButton(sid) ]) : null,
				this.anonymous ? null : E('h3', {}, [ sid ]),
				E('div', { 'class': `cbi-section-node ${this.tabs ? 'cbi-section-node-tabbed' : ''}`, 'data-section-id': sid }, [ nodes[i] ])
			]),
			sids.length ? null : this.renderSectionPlaceholder(),
			this.renderSectionAdd()
		]);
	},

	removeButton(sid) {
		const title = this.titleFn('removebtntitle', sid) ?? _('Delete');
		return E('button', { 'class': 'cbi-button cbi-button-remove', 'title': title, 'disabled': this.map.readonly || null,
			'click': ui.createHandlerFn(this, 'handleRemove', sid) }, [ title ]);
	}
});

const TableSection = TypedSection.extend({
	columns() {
		return this.children.filter((option) => !option.modalonly);
	},

	rowTitle(sid) {
		return this.anonymous && !this.sectiontitle ? null : this.titleFn('sectiontitle', sid) ?? sid;
	},

	renderContents(sids, nodes) {
		const named = !this.anonymous || this.sectiontitle;
		const head = E('tr', { 'class': 'tr cbi-section-table-titles' }, [
			named ? E('th', { 'class': 'th' }, [ _('Name') ]) : null,
			...this.columns().map((option) => E('th', { 'class': 'th cbi-section-table-cell' }, option.title)),
			E('th', { 'class': 'th cbi-section-actions' })
		]);
		const described = !this.nodescriptions && this.columns().some((option) => option.description);
		const descriptions = described ? E('tr', { 'class': 'tr cbi-section-table-descr' }, [
			named ? E('th', { 'class': 'th' }) : null,
			...this.columns().map((option) => E('th', { 'class': 'th cbi-section-table-cell' }, option.description)),
			E('th', { 'class': 'th cbi-section-actions' })
		]) : null;
		const rows = sids.map((sid, i) => E('tr', {
			'id': `cbi-${this.configName()}-${sid}`, 'class': 'tr cbi-section-table-row', 'data-sid': sid, 'data-section-id': sid,
			'data-title': this.rowTitle(sid)
		}, [
			named ? E('td', { 'class': 'td cbi-section-table-titles' }, [ this.rowTitle(sid) ]) : null,
			nodes[i],
			this.renderRowActions(sid)
		]));
		const empty = E('tr', { 'class': 'tr placeholder' }, E('td', { 'class': 'td' }, this.renderSectionPlaceholder()));
		return E('div', {
			'id': `cbi-${this.configName()}-${this.sectiontype}`, 'class': 'cbi-section cbi-tblsection', ...this.tabAttributes()
		}, [
			...this.heading(),
			E('table', { 'class': 'table cbi-section-table' }, [ E('thead', {}, [ head, descriptions ]), E('tbody', {}, rows.length ? rows : [ empty ]) ]),
			this.renderSectionAdd('cbi-tblsection-create')
		]);
	},

	renderRowActions(sid, more) {
		return E('td', { 'class': 'td cbi-section-actions' }, E('div', {}, [
			more ? E('button', { 'class': 'btn cbi-button cbi-button-edit', 'title': more,
				'click': ui.createHandlerFn(this, 'renderMoreOptionsModal', sid) }, [ more ]) : null,
			this.addremove ? this.removeButton(sid) : null
		]));
	}
});

const GridSection = TableSection.extend({
	handleAdd(ev, name) {
		const sid = this.map.data.add(this.configName(), this.sectiontype, name);
		this.map.addedSection = sid;
		return this.renderMoreOptionsModal(sid);
	},

	async renderUCISection(sid) {
		const cells = await Promise.all(this.columns().map((option, index) =>
			option.editable ? option.render(index, sid, true) : this.renderTextValue(sid, option)));
		return E([], cells);
	},

	/* A string that textvalue() gives is HTML. */
	renderTextValue(sid, option) {
		return E('td', { 'class': 'td cbi-value-field', 'data-title': this.stripTags(option.title), 'data-name': option.option },
			option.textvalue(sid) ?? E('em', _('none')));
	},

	renderRowActions(sid) {
		return this.super('renderRowActions', [ sid, _('Edit') ]);
	},

	parse() {
		return Promise.all(this.cfgsections().flatMap((sid) =>
			this.children.filter((option) => option.editable && !option.modalonly).map((option) => option.parse(sid))));
	},

	addModalOptions() {},

	async renderMoreOptionsModal(sid) {
		const parent = this.map;
		const map = new Map(parent.config, null, null);
		Object.assign(map, { data: parent.data, parent, readonly: parent.readonly });
		const section = map.section(NamedSection, sid, this.sectiontype);
		section.tabs = this.tabs;
		this.children.filter((option) => option.modalonly !== false).forEach((option) => {
			const copy = section.option(option.constructor, option.option, option.title, option.description);
			Object.keys(option).filter((key) => ![ 'map', 'section', 'option', 'title', 'description', 'data' ].includes(key))
				.forEach((key) => copy[key] = option[key]);
		});
		await this.addModalOptions(section, sid);
		const nodes = await map.render();
		const title = this.titleFn('modaltitle', sid) ?? `${parent.title} - ${this.titleFn('sectiontitle', sid) ?? sid}`;
		ui.showModal(title, [
			nodes,
			E('div', { 'class': 'button-row' }, [
				E('button', { 'class': 'btn cbi-button', 'click': ui.createHandlerFn(this, 'handleModalCancel', map) }, [ _('Dismiss') ]), ' ',
				E('button', { 'class': 'btn cbi-button cbi-button-positive important', 'disabled': map.readonly || null,
					'click': ui.createHandlerFn(this, 'handleModalSave', map) }, [ _('Save') ])
			])
		], 'cbi-modal');
	},

	/* Wrong values leave the dialogue open, each with its mark. */
	handleModalSave(map, ev) {
		return map.save(null, true)
			.then(() => this.map.load())
			.then(() => this.map.reset())
			.then(() => this.handleModalCancel(map, ev, true))
			.catch(() => {});
	},

	async handleModalCancel(map, ev, saving) {
		if (this.map.addedSection != null && !saving)
			this.map.data.remove(this.configName(), this.map.addedSection);
		delete this.map.addedSection;
		ui.hideModal();
	}
});

const NamedSection = AbstractSection.extend({
	__init__(map, sid, ...rest) {
		this.super('__init__', [ map, ...rest ]);
		this.section = sid;
	},

	cfgsections() {
		return [ this.section ];
	},

	handleAdd() {
		this.map.data.add(this.configName(), this.sectiontype, this.section);
		return this.map.save(null, true);
	},

	handleRemove() {
		this.map.data.remove(this.configName(), this.section);
		return this.map.save(null, true);
	},

	async render() {
		const there = this.map.data.get(this.configName(), this.section);
		const button = (handler, kind, title) => this.addremove ? E('button', {
			'class': `cbi-button cbi-button-${kind}`, 'disabled': this.map.readonly || null, 'click': ui.createHandlerFn(this, handler)
		}, [ title ]) : null;
		const node = E('div', { 'class': 'cbi-section', ...this.tabAttributes() }, [
			...this.heading(),
			there ? button('handleRemove', 'remove', this.titleFn('delbtntitle', this.section) ?? _('Delete'))
				: button('handleAdd', 'add', this.titleFn('addbtntitle', this.section) ?? _('Add')),
			there ? E('div', {
				'id': `cbi-${this.configName()}-${this.section}`, 'data-section-id': this.section,
				'class': `cbi-section-node ${this.tabs ? 'cbi-section-node-tabbed' : ''}`
			}, [ await this.renderUCISection(this.section) ]) : null
		]);
		dom.bindClassInstance(node, this);
		return node;
	}
});

/* ---- options ---------------------------------------------------------------------------------------------------- */

const Value = AbstractElement.extend({
	__init__(map, section, option, ...rest) {
		this.super('__init__', rest);
		Object.assign(this, { map, section, option, config: map.config, deps: [], rmempty: true, default: null, optional: false });
	},

	value(key, text) {
		(this.keylist ??= []).push(String(key));
		(this.vallist ??= []).push(dom.elem(text) ? text : String(text ?? key));
	},

	depends(field, value) {
		this.deps.push(typeof(field) == 'string' ? { [field]: value } : field);
	},

	place(sid) {
		return [ this.uciconfig ?? this.section.uciconfig ?? this.map.config, this.ucisection ?? sid, this.ucioption ?? this.option ];
	},

	cbid(sid) {
		return `cbid.${this.uciconfig ?? this.section.uciconfig ?? this.map.config}.${sid}.${this.option}`;
	},

	load(sid) {
		return this.map.data.get(...this.place(sid));
	},

	cfgvalue(sid, value) {
		this.data ??= {};
		if (arguments.length == 2)
			this.data[sid] = value;
		return this.data[sid];
	},

	getUIElement(sid) {
		const node = this.map.findElement('id', this.cbid(sid));
		const element = node ? dom.data(node, '_class') : null;
		return element instanceof ui.AbstractElement ? element : null;
	},

	formvalue(sid) {
		return this.getUIElement(sid)?.getValue() ?? null;
	},

	textvalue(sid) {
		const value = this.cfgvalue(sid) ?? this.default;
		return value == null ? null : '%h'.format(Array.isArray(value) ? value.join(' ') : value);
	},

	validate: () => true,

	write(sid, value) {
		return this.map.data.set(...this.place(sid), value);
	},

	remove(sid) {
		return this.map.data.unset(...this.place(sid));
	},

	isValid(sid) {
		return this.getUIElement(sid)?.isValid() ?? true;
	},

	getValidationError(sid) {
		return this.getUIElement(sid)?.getValidationError() ?? '';
	},

	triggerValidation(sid) {
		return this.getUIElement(sid)?.triggerValidation() ?? true;
	},

	field(sid) {
		return this.map.findElement('data-field', this.cbid(sid));
	},

	isActive(sid) {
		return this.field(sid) ? !this.field(sid).classList.contains('hidden') : false;
	},

	setActive(sid, active) {
		this.field(sid)?.classList.toggle('hidden', !active);
		return Boolean(this.field(sid));
	},

	checkDepends(sid) {
		return this.map.isDependencySatisfied(this.deps, this.uciconfig ?? this.section.uciconfig ?? this.map.config, sid);
	},

	async parse(sid) {
		if (!this.isActive(sid))
			return this.retain ? null : this.remove(sid);
		this.refuseInvalid(sid);
		const value = this.formvalue(sid);
		if (value == null || value == '' || (value == this.default && (this.optional || this.rmempty))) {
			if (!this.rmempty && !this.optional)
				throw new TypeError(_('Option "%s" must not be empty.').format(this.stripTags(this.title)));
			return this.remove(sid);
		}
		return this.forcewrite || !equals(this.cfgvalue(sid), value) ? this.write(sid, value) : null;
	},

	refuseInvalid(sid) {
		if (!this.isValid(sid))
			throw new TypeError(`${_('Option "%s" contains an invalid input value.').format(this.stripTags(this.title) || this.option)} ${
				this.getValidationError(sid)}`);
	},

	choices() {
		return this.keylist ? Object.fromEntries(this.keylist.map((key, i) => [ key, this.vallist[i] ])) : null;
	},

	widgetOptions(sid) {
		const readonly = this.readonly ?? this.map.readonly;
		return {
			id: this.cbid(sid), sort: this.keylist, optional: this.optional || this.rmempty, datatype: this.datatype,
			placeholder: this.placeholder, validate: (value) => this.validate(sid, value), disabled: readonly
		};
	},

	async render(index, sid, inTable) {
		const node = await this.renderWidget(sid, index, this.cfgvalue(sid));
		return this.renderFrame(sid, inTable, index, node);
	},

	renderWidget(sid, index, value) {
		const text = [ value ?? this.default ].flat().join(' ');
		const options = { ...this.widgetOptions(sid), password: this.password };
		return (this.keylist ? new ui.Combobox(text, this.choices(), options) : new ui.Textfield(text || null, options)).render();
	},

	renderFrame(sid, inTable, index, node) {
		const marks = { 'data-field': this.cbid(sid), 'class': this.deps.length ? 'hidden' : null };
		const frame = inTable ? E('td', { 'class': 'td cbi-value-field', 'data-title': this.stripTags(this.title), 'data-name': this.option },
			[ E('div', marks, [ node ]) ])
			: E('div', { ...marks, 'class': `cbi-value ${marks.class || ''}`, 'data-name': this.option }, [
				this.title ? E('label', { 'class': 'cbi-value-title', 'for': `widget.${this.cbid(sid)}` }, this.title) : null,
				E('div', { 'class': 'cbi-value-field' }, [
					node,
					this.description ? E('div', { 'class': 'cbi-value-description' }, this.description) : null
				])
			]);
		frame.addEventListener('widget-change', () => {
			this.map.checkDepends();
			this.onchange?.(null, sid, this.formvalue(sid));
		});
		dom.bindClassInstance(frame, this);
		dom.bindClassInstance(frame.matches('td') ? frame.firstElementChild : frame, this);
		return frame;
	}
});

const ListValue = Value.extend({
	__init__(...parameters) {
		this.super('__init__', parameters);
		this.widget = 'select';
	},

	renderWidget(sid, index, value) {
		return new ui.Select(value ?? this.default, this.choices(), { ...this.widgetOptions(sid), widget: this.widget, optional: this.optional })
			.render();
	}
});

const DynamicList = Value.extend({
	renderWidget(sid, index, value) {
		return new ui.DynamicList(L.toArray(value ?? this.default), this.choices(), this.widgetOptions(sid)).render();
	}
});

const MultiValue = DynamicList.extend({
	renderWidget(sid, index, value) {
		return new ui.Dropdown(L.toArray(value ?? this.default), this.choices() || {},
			{ ...this.widgetOptions(sid), multiple: true, create: this.create }).render();
	}
});

const Flag = Value.extend({
	__init__(...parameters) {
		this.super('__init__', parameters);
		Object.assign(this, { enabled: '1', disabled: '0', default: '0' });
	},

	renderWidget(sid, index, value) {
		return new ui.Checkbox(value ?? this.default,
			{ ...this.widgetOptions(sid), value_enabled: this.enabled, value_disabled: this.disabled }).render();
	},

	textvalue(sid) {
		return (this.cfgvalue(sid) ?? this.default) == this.enabled ? _('Yes') : _('No');
	},

	async parse(sid) {
		if (!this.isActive(sid))
			return this.retain ? null : this.remove(sid);
		this.refuseInvalid(sid);
		const value = this.formvalue(sid);
		return value == this.default && (this.optional || this.rmempty) ? this.remove(sid) : this.write(sid, value);
	}
});

const TextValue = Value.extend({
	renderWidget(sid, index, value) {
		return new ui.Textarea(value ?? this.default, { ...this.widgetOptions(sid), rows: this.rows }).render();
	}
});

const DummyValue = Value.extend({
	renderWidget(sid, index, value) {
		const text = value ?? this.default;
		return E('div', {}, [
			E('output', {}, this.rawhtml ? text : [ text ]),
			new ui.Hiddenfield(text, { id: this.cbid(sid) }).render()
		]);
	},

	write() {},
	remove() {}
});

const Button = Value.extend({
	renderWidget(sid) {
		const title = this.titleFn('inputtitle', sid) ?? this.titleFn('title', sid);
		return E('div', {}, [
			E('button', { 'class': `cbi-button cbi-button-${this.inputstyle || 'button'}`,
				'disabled': (this.readonly ?? this.map.readonly) || null,
				'click': ui.createHandlerFn(this, (ev) => this.onclick?.(ev, sid)) }, [ title ]),
			new ui.Hiddenfield('', { id: this.cbid(sid) }).render()
		]);
	},

	write() {},
	remove() {}
});

return baseclass.extend({
	Map, JSONMap, AbstractSection, TypedSection, TableSection, GridSection, NamedSection, AbstractValue: Value, Value, ListValue,
	DynamicList, MultiValue, Flag, TextValue, DummyValue, Button
});
