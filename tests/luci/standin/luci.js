/*
 * A stand-in for LuCI's client side: the part of its documented API (https://openwrt.github.io/luci/jsapi/) that the views of
 * luci-app-natf use, so that they can be tested without OpenWrt. Where the real one turns a string into HTML (a bare string
 * as child of E(), titles of dialogs), this one does so, too: else no test could show that hostile names stay text.
 */
'use strict';

(() => {
const env = {};
const loaded = new Map();

/* ---- strings: format() of LuCI, and translations --------------------------------------------------------------- */

const ENTITIES = { '&': '&#38;', '"': '&#34;', '\'': '&#39;', '<': '&#60;', '>': '&#62;' };
const whole = (value) => Math.floor(Number(value) || 0);

function span(seconds) {
	const days = Math.floor(seconds / 86400), rest = seconds % 86400;
	const parts = `${Math.floor(rest / 3600)}h ${Math.floor(rest % 3600 / 60)}m ${rest % 60}s`;
	return days ? `${days}d ${parts}` : parts;
}

function metric(value, base, digits) {
	const units = [ '', 'K', 'M', 'G', 'T', 'P', 'E' ];
	let step = 0;
	for (value = Number(value) || 0; value > base && step < units.length - 1; step++)
		value /= base;
	return step ? `${value.toFixed(digits)} ${units[step]}${base == 1024 ? 'i' : ''}` : `${value} `;
}

const CONVERSIONS = {
	c: (value) => String.fromCharCode(Number(value) || 0),
	d: (value) => whole(value).toFixed(0),
	u: (value) => whole(value).toFixed(0),
	x: (value) => whole(value).toString(16),
	X: (value) => whole(value).toString(16).toUpperCase(),
	f: (value, width, digits) => digits == null ? String(Number(value) || 0) : (Number(value) || 0).toFixed(digits),
	s: (value) => String(value),
	h: (value) => value == null ? '' : String(value).replace(/[&"'<>]/g, (c) => ENTITIES[c]),
	q: (value) => value == null ? '' : String(value).replace(/["']/g, (c) => ENTITIES[c]),
	t: (value) => span(whole(value)),
	m: (value, width, digits) => metric(value, width || 1000, digits == null ? 2 : digits)
};

String.prototype.format = function(...values) {
	let next = 0;
	return this.replace(/%(0| )?(-)?(\d+)?(?:\.(\d+))?([%cduxXfshqtm])/g, (all, pad, left, width, digits, type) => {
		if (type == '%')
			return '%';
		if (next >= values.length)
			return '';
		const text = CONVERSIONS[type](values[next++], Number(width) || 0, digits == null ? null : Number(digits));
		if (type == 'm')
			return text;
		return left ? text.padEnd(width || 0) : text.padStart(width || 0, pad || ' ');
	});
};
String.format = (format, ...values) => format.format(...values);

/* window.TR: message (or context, U+0001, message) to its translations, one for each plural form. */
const translation = (message, context) => {
	const key = String(message).trim().replace(/[ \t\n]+/g, ' ');
	return (window.TR || {})[context == null ? key : `${context}\u0001${key}`];
};
window._ = (message, context) => translation(message, context)?.[0] || message;
window.N_ = (count, one, many, context) => {
	const forms = translation(one, context);
	return forms?.[Math.min(forms.length - 1, count == 1 ? 0 : 1)] || (count == 1 ? one : many);
};

/* ---- classes --------------------------------------------------------------------------------------------------- */

/* Where a method that runs just now was found, so that super() continues above it: [object, name, prototype]. */
const running = [];

function above(object, name) {
	const call = running.findLast(([ who, what ]) => who === object && what === name);
	let level = call ? Object.getPrototypeOf(call[2]) : Object.getPrototypeOf(object);
	let own = Boolean(call);
	for (; level; level = Object.getPrototypeOf(level)) {
		if (!Object.hasOwn(level, name))
			continue;
		if (own)
			return level;
		own = true;
	}
	return null;
}

class Base {
	constructor(...parameters) {
		this.__init__?.(...parameters);
	}

	super(name, ...parameters) {
		const level = above(this, name);
		if (!level)
			return null;
		if (!parameters.length)
			return level[name];
		const list = Array.isArray(parameters[0]) || isArguments(parameters[0]) ? [ ...parameters[0] ] : parameters;
		running.push([ this, name, level ]);
		try {
			return level[name].apply(this, list);
		}
		finally {
			running.pop();
		}
	}

	varargs(list, offset, ...first) {
		return first.concat(Array.prototype.slice.call(list, offset));
	}

	static extend(members) {
		const Derived = class extends this {};
		for (const key of Object.keys(members))
			Object.defineProperty(Derived.prototype, key, { value: members[key], writable: true });
		return Derived;
	}

	static singleton(members, ...parameters) {
		return this.extend(members).instantiate(parameters);
	}

	static instantiate(parameters) {
		return new this(...parameters);
	}

	static isSubclass(other) {
		return typeof(other) == 'function' && other.prototype instanceof this;
	}
}

const isArguments = (value) => Object.prototype.toString.call(value) == '[object Arguments]';

/* ---- dom ------------------------------------------------------------------------------------------------------- */

const dom = new (Base.extend({
	elem: (value) => value != null && typeof(value) == 'object' && 'nodeType' in value,

	parse: (html) => new DOMParser().parseFromString(html, 'text/html').body.firstChild,

	matches(node, selector) {
		return this.elem(node) && node.matches ? node.matches(selector) : false;
	},

	parent: (node, selector) => node?.closest?.(selector) ?? null,

	/* In a list a string is text; alone it is HTML. */
	append(node, children) {
		if (!this.elem(node) || children == null)
			return null;
		if (typeof(children) == 'function')
			return this.append(node, children(node));
		if (this.elem(children))
			return node.appendChild(children);
		if (Array.isArray(children))
			for (const child of children) {
				if (child != null)
					node.appendChild(this.elem(child) ? child : document.createTextNode(String(child)));
			}
		else
			node.innerHTML = String(children);
		return node.lastChild;
	},

	content(node, children) {
		if (!this.elem(node))
			return null;
		node.replaceChildren();
		return this.append(node, children);
	},

	attr(node, key, value) {
		const attributes = typeof(key) == 'string' ? { [key]: value } : key || {};
		for (const [ name, given ] of Object.entries(attributes)) {
			if (typeof(given) == 'function')
				node.addEventListener(name, given);
			else if (given != null)
				node.setAttribute(name, typeof(given) == 'object' ? JSON.stringify(given) : given);
		}
	},

	create(tag, attributes, children) {
		if (!(attributes instanceof Object) || Array.isArray(attributes))
			[ attributes, children ] = [ null, attributes ];
		let node;
		if (Array.isArray(tag)) {
			node = document.createDocumentFragment();
			tag.forEach((part) => node.appendChild(this.create(part)));
		}
		else if (this.elem(tag))
			node = tag;
		else
			node = tag.startsWith('<') ? this.parse(tag) : document.createElement(tag);
		this.attr(node, attributes);
		this.append(node, children);
		return node;
	},

	/* What belongs to a node besides its attributes. */
	registry: new WeakMap(),

	data(node, key, value) {
		const entry = this.registry.get(node) || {};
		if (value !== undefined) {
			entry[key] = value;
			this.registry.set(node, entry);
		}
		return key == null ? entry : entry[key] ?? null;
	},

	bindClassInstance(node, instance) {
		return this.data(node, '_class', instance);
	},

	findClassInstance(node) {
		for (; node; node = node.parentNode) {
			const instance = this.data(node, '_class');
			if (instance)
				return instance;
		}
		return null;
	},

	callClassMethod(node, method, ...parameters) {
		return this.findClassInstance(node)?.[method]?.(...parameters) ?? null;
	},

	isEmpty(node, ignore) {
		return ![ ...(node?.children || []) ].some((child) => !child.classList.contains('hidden') && !ignore?.(child));
	}
}))();

window.E = (...parameters) => dom.create(...parameters);

/* ---- request, poll, session ------------------------------------------------------------------------------------- */

class Response {
	constructor(answer, text) {
		Object.assign(this, { ok: answer.ok, status: answer.status, statusText: answer.statusText, url: answer.url,
			headers: answer.headers });
		this.body = text;
	}

	json() {
		return JSON.parse(this.body);
	}

	text() {
		return this.body;
	}
}

const request = new (Base.extend({
	request(url, options = {}) {
		const { method = 'GET', content, query, timeout, headers = {}, cache } = options;
		const target = new URL(url, location.href);
		Object.entries(query || {}).forEach(([ key, value ]) => target.searchParams.set(key, value));
		const body = content == null || typeof(content) == 'string' ? content : JSON.stringify(content);
		return fetch(target, {
			method: method.toUpperCase(),
			body,
			headers: { ...(body == null ? {} : { 'Content-Type': 'application/json' }), ...headers },
			cache: cache ? 'default' : 'no-store',
			signal: AbortSignal.timeout(timeout || 60000)
		}).then(async (answer) => new Response(answer, await answer.text()));
	},

	get(url, options) {
		return this.request(url, { ...options, method: 'GET' });
	},

	post(url, content, options) {
		return this.request(url, { ...options, method: 'POST', content });
	}
}))();

const poll = new (Base.extend({
	queue: [],

	add(fn, interval) {
		if (this.queue.some((entry) => entry.fn === fn))
			return false;
		this.queue.push({ fn, interval: (interval || env.pollinterval) >>> 0, ready: true });
		if (this.tick != null && !this.active())
			this.start();
		return true;
	},

	remove(fn) {
		const before = this.queue.length;
		this.queue.splice(0, before, ...this.queue.filter((entry) => entry.fn !== fn));
		if (!this.queue.length && this.stop())
			this.tick = 0;
		return this.queue.length != before;
	},

	start() {
		if (this.active())
			return false;
		this.tick = 0;
		if (this.queue.length) {
			this.timer = window.setInterval(() => this.step(), env.polltick);
			this.step();
			document.dispatchEvent(new CustomEvent('poll-start'));
		}
		return true;
	},

	stop() {
		if (!this.active())
			return false;
		document.dispatchEvent(new CustomEvent('poll-stop'));
		window.clearInterval(this.timer);
		this.timer = this.tick = null;
		return true;
	},

	/* A function whose last call is still under way is left out. */
	step() {
		for (const entry of this.queue) {
			if (this.tick % entry.interval || !entry.ready)
				continue;
			entry.ready = false;
			Promise.resolve(entry.fn()).finally(() => entry.ready = true);
		}
		this.tick++;
	},

	active() {
		return this.timer != null;
	}
}))();

const session = new (Base.extend({
	getID: () => env.sessionid,
	getToken: () => env.token,

	getLocalData(key) {
		const data = JSON.parse(sessionStorage.getItem(`luci-${env.sessionid}`) || '{}');
		return key == null ? data : data[key] ?? null;
	},

	setLocalData(key, value) {
		sessionStorage.setItem(`luci-${env.sessionid}`, JSON.stringify({ ...this.getLocalData(), [key]: value ?? undefined }));
		return true;
	}
}))();

/* ---- views ------------------------------------------------------------------------------------------------------ */

const View = Base.extend({
	__init__() {
		const place = document.getElementById('view');
		dom.content(place, E('div', { 'class': 'spinning' }, [ _('Loading view…') ]));
		return Promise.resolve()
			.then(() => this.load())
			.then((data) => this.render(data))
			.then((nodes) => {
				dom.content(place, nodes);
				dom.append(place, this.addFooter());
			})
			.catch((problem) => L.error(problem));
	},

	load() {},

	render() {},

	maps: () => [ ...document.querySelectorAll('#maincontent .cbi-map') ],

	handleSave() {
		return Promise.all(this.maps().map((map) => dom.callClassMethod(map, 'save')));
	},

	handleSaveApply(ev, mode) {
		return this.handleSave(ev).then(() => loaded.get('ui').changes.apply(mode == '0'));
	},

	handleReset() {
		return Promise.all(this.maps().map((map) => dom.callClassMethod(map, 'reset')));
	},

	addFooter() {
		const { createHandlerFn } = loaded.get('ui');
		const maps = this.maps().map((map) => dom.findClassInstance(map)).filter((map) => map != null);
		const readonly = maps.length ? maps.every((map) => map.readonly) : !L.hasViewPermission();
		const button = (handler, kind, title, ...parameters) => this[handler] ? E('button', {
			'class': `btn cbi-button cbi-button-${kind}`,
			'click': createHandlerFn(this, handler, ...parameters),
			'disabled': readonly || null
		}, [ title ]) : '';
		if (!this.handleSaveApply && !this.handleSave && !this.handleReset)
			return E([]);
		/* The real button hands the mode over behind the event. */
		const apply = this.handleSaveApply ? button('applyChecked', 'apply important', _('Save & Apply')) : '';
		return E('div', { 'class': 'cbi-page-actions' }, [
			apply, ' ', button('handleSave', 'save', _('Save')), ' ', button('handleReset', 'reset', _('Reset'))
		]);
	},

	applyChecked(ev) {
		return this.handleSaveApply(ev, '0');
	}
});

/* ---- L ---------------------------------------------------------------------------------------------------------- */

const compare = new Intl.Collator(undefined, { numeric: true }).compare;
const REQUIRE = /^\s*(?:(?:\/\/[^\n]*|\/\*[^]*?\*\/)\s*)*(['"])(use strict|require\s+\S+(?:\s+as\s+\w+)?)\1;?/;

/* The lines 'require x.y as z' at the head of a class file: [name, local name]. */
function requirements(source) {
	const found = [];
	for (let match; (match = REQUIRE.exec(source)); source = source.slice(match[0].length)) {
		const [ word, name, , alias ] = match[2].split(/\s+/);
		if (word == 'require')
			found.push([ name, alias || name.replace(/\W/g, '_') ]);
	}
	return found;
}

class LuCI {
	constructor(settings) {
		Object.assign(env, settings);
		this.env = env;
		[ [ 'baseclass', Base ], [ 'dom', dom ], [ 'poll', poll ], [ 'request', request ], [ 'session', session ],
			[ 'view', View ] ].forEach(([ name, value ]) => loaded.set(name, value));
		Object.assign(this, { dom, Poll: poll, Request: request, Class: Base, view: View, naturalCompare: compare });
		window.L = this;
	}

	/* The page's own start: modules, then the view that the menu names. */
	async start(view) {
		await Promise.all([ 'ui', 'rpc', 'uci', 'form' ].map((name) => this.require(name)));
		poll.start();
		document.dispatchEvent(new CustomEvent('luci-loaded'));
		if (view)
			await this.require(`view.${view.replace(/\//g, '.')}`);
	}

	/* Settles with an instance of the class that resources/x/y.js returns for 'x.y'. */
	require(name, from = []) {
		if (from.includes(name))
			this.raise('DependencyError', 'Circular dependency: %s', [ ...from, name ].join(', '));
		if (!loaded.has(name)) {
			const instance = this.compile(name, from);
			loaded.set(name, instance);
			instance.then((value) => loaded.set(name, value), () => loaded.delete(name));
		}
		return Promise.resolve(loaded.get(name));
	}

	async compile(name, from) {
		const url = `${env.resource}/${name.replace(/\./g, '/')}.js`;
		const answer = await request.get(url, { cache: true });
		if (!answer.ok)
			this.raise('NetworkError', 'HTTP error %d while loading class file "%s"', answer.status, url);
		const wanted = requirements(answer.text());
		const modules = await Promise.all(wanted.map(([ module ]) => this.require(module, [ ...from, name ])));
		const factory = new Function('window', 'document', 'L', ...wanted.map(([ , alias ]) => alias),
			`${answer.text()}\n//# sourceURL=${url}`);
		const made = factory(window, document, this, ...modules);
		if (!Base.isSubclass(made))
			this.raise('TypeError', '"%s" factory yields invalid constructor', name);
		return new made();
	}

	raise(type, format, ...values) {
		if (type instanceof Error)
			throw type;
		const problem = new (window[type] || Error)(format ? format.format(...values) : 'Unspecified error');
		problem.name = type || 'Error';
		throw problem;
	}

	error(...parameters) {
		try {
			this.raise(...parameters);
		}
		catch (problem) {
			if (!problem.reported)
				loaded.get('ui').addNotification(problem.name, E('pre', {}, [ problem.message ]), 'danger');
			problem.reported = true;
			throw problem;
		}
	}

	bind(fn, self, ...parameters) {
		return fn.bind(self, ...parameters);
	}

	hasViewPermission() {
		return env.nodespec?.satisfied ? !env.nodespec.readonly : null;
	}

	hasSystemFeature() {
		return false;
	}

	notifySessionExpiry() {
		poll.stop();
		loaded.get('ui').showModal(_('Session expired'), [
			E('div', { 'class': 'alert-message warning' },
				[ _('A new login is required since the authentication session expired.') ]),
			E('div', { 'class': 'right' }, [
				E('button', { 'class': 'btn primary', 'click': () => location.reload() }, [ _('Log in…') ])
			])
		]);
		this.raise('SessionError', 'Login session is expired');
	}

	isObject(value) {
		return value != null && typeof(value) == 'object';
	}

	isArguments(value) {
		return isArguments(value);
	}

	toArray(value) {
		if (value == null)
			return [];
		if (typeof(value) == 'object')
			return Array.isArray(value) ? value : [ value ];
		return String(value).trim().split(/\s+/).filter((word) => word != '');
	}

	sortedArray(value) {
		return this.toArray(value).sort(compare);
	}

	sortedKeys(object, key) {
		return Object.keys(object || {}).sort((a, b) => key == null ? compare(a, b) : compare(object[a][key], object[b][key]));
	}

	resolveDefault(value, fallback) {
		return Promise.resolve(value).catch(() => fallback);
	}

	url(...parts) {
		return [ env.scriptname, ...parts ].join('/');
	}

	resource(...parts) {
		return [ env.resource, ...parts ].join('/');
	}

	media(...parts) {
		return [ env.media, ...parts ].join('/');
	}

	location() {
		return this.url(...env.requestpath);
	}
}

window.LuCI = LuCI;
})();
