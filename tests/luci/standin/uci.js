/* LuCI.uci: the configuration as loaded, what is changed in the page, and saving that to the session's staging area. */
'use strict';
'require rpc';
'require baseclass';

const declare = (method, params, expect) => rpc.declare({ object: 'uci', method, params, expect, reject: true });
const calls = {
	get: rpc.declare({ object: 'uci', method: 'get', params: [ 'config' ], expect: { values: {} }, reject: true }),
	add: declare('add', [ 'config', 'type', 'name', 'values' ], { section: '' }),
	set: declare('set', [ 'config', 'section', 'values' ]),
	remove: declare('delete', [ 'config', 'section', 'options' ]),
	order: declare('order', [ 'config', 'sections' ]),
	changes: rpc.declare({ object: 'uci', method: 'changes', expect: { changes: {} } }),
	apply: declare('apply', [ 'timeout', 'rollback' ]),
	confirm: declare('confirm')
};
const isMeta = (key) => key.startsWith('.');
const options = (section) => Object.fromEntries(Object.entries(section).filter(([ key ]) => !isMeta(key)));

return baseclass.extend({
	__init__() {
		this.loaded = {};      /* config -> section -> as the router has it */
		this.edited = {};      /* config -> section -> as the page has it; null: removed */
		this.moved = new Set();
		this.count = 0;
	},

	async load(configs) {
		const names = L.toArray(configs).filter((name) => !this.loaded[name]);
		await Promise.all(names.map(async (name) => {
			this.pending = this.pending || {};
			this.pending[name] = this.pending[name] || calls.get(name);
			this.loaded[name] = await this.pending[name].finally(() => delete this.pending[name]);
			this.edited[name] = this.edited[name] || {};
		}));
		if (names.length)
			document.dispatchEvent(new CustomEvent('uci-loaded'));
		return names;
	},

	unload(configs) {
		for (const name of L.toArray(configs)) {
			delete this.loaded[name];
			delete this.edited[name];
		}
	},

	/* The section as the page has it, to be changed. */
	edit(config, sid) {
		const original = this.loaded[config]?.[sid];
		const edited = this.edited[config];
		if (!edited || edited[sid] === null || (!original && !edited[sid]))
			return null;
		return edited[sid] ??= structuredClone(original);
	},

	current(config, sid) {
		const edited = this.edited[config]?.[sid];
		return edited === undefined ? this.loaded[config]?.[sid] : edited;
	},

	resolveSID(config, sid) {
		const match = /^@([\w-]+)\[(-?\d+)\]$/.exec(sid);
		return match ? this.sections(config, match[1]).at(Number(match[2]))?.['.name'] ?? null : sid;
	},

	sections(config, type, callback) {
		const names = new Set([ ...Object.keys(this.loaded[config] || {}), ...Object.keys(this.edited[config] || {}) ]);
		const found = [ ...names ].map((sid) => this.current(config, sid))
			.filter((section) => section && (!type || section['.type'] == type))
			.sort((a, b) => a['.index'] - b['.index'])
			.map((section, index) => ({ ...section, '.index': index }));
		if (callback)
			found.forEach((section) => callback.call(this, section, section['.name']));
		return found;
	},

	get(config, sid, option) {
		const section = this.current(config, this.resolveSID(config, sid));
		return option == null ? section ?? undefined : section?.[option];
	},

	get_first(config, type, option) {
		const first = this.sections(config, type)[0];
		return option == null ? first ?? null : first?.[option] ?? null;
	},

	get_bool(config, sid, option) {
		return [ '1', 'on', 'true', 'yes', 'enabled' ].includes(this.get(config, sid, option));
	},

	set(config, sid, option, value) {
		sid = this.resolveSID(config, sid);
		if (option == null || isMeta(option))
			return;
		const section = this.edit(config, sid);
		if (!section)
			return;
		if (value == null || value === '')
			delete section[option];
		else
			section[option] = value;
	},

	unset(config, sid, option) {
		this.set(config, sid, option, null);
	},

	add(config, type, name) {
		const sid = name || `new${Math.random().toString(16).slice(2, 8).padEnd(6, '0')}`;
		this.edited[config] = this.edited[config] || {};
		this.edited[config][sid] = {
			'.type': type, '.name': sid, '.create': name, '.anonymous': !name, '.new': true, '.index': 1000 + this.count++
		};
		return sid;
	},

	remove(config, sid) {
		if (this.loaded[config]?.[sid])
			this.edited[config][sid] = null;
		else
			delete this.edited[config]?.[sid];
	},

	move(config, sid, other, after) {
		const order = this.sections(config).map((section) => section['.name']).filter((name) => name != sid);
		const place = order.indexOf(other);
		order.splice(place < 0 ? order.length : place + (after ? 1 : 0), 0, sid);
		order.forEach((name, index) => this.edit(config, name)['.index'] = index);
		this.moved.add(config);
		return true;
	},

	async save() {
		for (const [ config, sections ] of Object.entries(this.edited)) {
			if (!Object.keys(sections).length)
				continue;
			for (const [ sid, section ] of Object.entries(sections))
				await this.saveSection(config, sid, section);
			if (this.moved.delete(config))
				await calls.order(config, this.sections(config).map((section) => section['.name']));
			this.unload(config);
			await this.load(config);
		}
	},

	async saveSection(config, sid, section) {
		if (section === null)
			return calls.remove(config, sid);
		if (section['.new']) {
			await calls.add(config, section['.type'], section['.create'], options(section));
			return null;
		}
		const before = this.loaded[config][sid];
		const gone = Object.keys(options(before)).filter((key) => !(key in section));
		const changed = Object.fromEntries(Object.entries(options(section))
			.filter(([ key, value ]) => JSON.stringify(value) != JSON.stringify(before[key])));
		if (gone.length)
			await calls.remove(config, sid, gone);
		if (Object.keys(changed).length)
			await calls.set(config, sid, changed);
		return null;
	},

	changes: () => calls.changes(),

	async apply(timeout = 10) {
		await calls.apply(timeout, true);
		await calls.confirm();
	},

	callApply: (...parameters) => calls.apply(...parameters),
	callConfirm: () => calls.confirm()
});
