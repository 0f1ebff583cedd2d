/* LuCI.rpc: ubus calls over POST /ubus, several of one turn in one batch, as uhttpd-mod-ubus takes them. */
'use strict';
'require baseclass';
'require request';

const STATUS = [ 'Command OK', 'Invalid command', 'Invalid argument', 'Method not found', 'Resource not found',
	'No data received', 'Permission denied', 'Request timeout', 'Not supported', 'Unspecified error', 'Connection lost' ];
const ACCESS_DENIED = -32002;
const interceptors = [];
let session = L.env.sessionid;
let nextId = 1;
let waiting = [];

/* Sends what waits, as one message or as a list of messages. */
function flush() {
	const calls = waiting;
	waiting = [];
	const messages = calls.map(({ message }) => message);
	const content = messages.length == 1 ? messages[0] : messages;
	request.post(L.env.ubuspath, content, { timeout: L.env.rpctimeout * 1000 }).then((answer) => {
		if (!answer.ok)
			L.raise('RPCError', 'RPC call failed with HTTP error %d: %s', answer.status, answer.statusText);
		const replies = messages.length == 1 ? [ answer.json() ] : answer.json();
		calls.forEach(({ resolve }, i) => resolve(replies[i]));
	}).catch((problem) => calls.forEach(({ reject }) => reject(problem)));
}

function send(message) {
	return new Promise((resolve, reject) => {
		waiting.push({ message, resolve, reject });
		if (waiting.length == 1)
			window.setTimeout(flush, 0);
	});
}

const sameType = (a, b) => Object.prototype.toString.call(a) == Object.prototype.toString.call(b);

function expected(reply, expect) {
	for (const key in expect) {
		const value = reply != null && key != '' ? reply[key] : reply;
		return value != null && sameType(value, expect[key]) ? value : expect[key];
	}
	return reply;
}

return baseclass.extend({
	declare(options) {
		return async (...parameters) => {
			const names = options.params || [];
			const named = Object.fromEntries(names.map((name, i) => [ name, parameters[i] ]));
			const reply = await send({
				jsonrpc: '2.0', id: nextId++, method: 'call',
				params: [ session, options.object, options.method, named ]
			});
			const call = { ...options, params: named };
			await Promise.all(interceptors.map((fn) => fn(reply, call)));
			await this.checkSession(reply, options);
			return this.result(reply, options, parameters, names.length);
		};
	},

	result(reply, options, parameters, named) {
		if (reply?.error)
			L.raise('RPCError', 'RPC call to %s/%s failed with error %d: %s',
				options.object, options.method, reply.error.code, reply.error.message);
		const [ status, data ] = reply.result;
		if (options.reject && status !== 0)
			L.raise('RPCError', 'RPC call to %s/%s failed with ubus code %d: %s',
				options.object, options.method, status, this.getStatusText(status));
		const value = expected(reply.result.length > 1 ? data : status, options.expect);
		return options.filter ? options.filter.call(this, value, parameters.slice(0, named), ...parameters.slice(named)) : value;
	},

	/* Denied because of missing rights, or because the session is over? Only the latter asks for a new login. */
	async checkSession(reply, { object, method }) {
		if (reply?.error?.code != ACCESS_DENIED || (object == 'session' && method == 'access'))
			return;
		const access = await send({
			jsonrpc: '2.0', id: nextId++, method: 'call',
			params: [ session, 'session', 'access', { scope: 'uci', object: 'luci', function: 'read' } ]
		});
		if (access.error)
			L.notifySessionExpiry();
	},

	list(...objects) {
		return send({ jsonrpc: '2.0', id: nextId++, method: 'list', params: objects.length ? objects : undefined })
			.then((reply) => reply.result);
	},

	getSessionID: () => session,
	setSessionID: (id) => session = id,
	getBaseURL: () => L.env.ubuspath,
	getStatusText: (code) => _(STATUS[code] || 'Unknown error code'),

	addInterceptor(fn) {
		interceptors.push(fn);
		return fn;
	}
});
