'use strict';
'require baseclass';
'require rpc';

/*
 * The ubus methods that the views call. An answer with `error` in it becomes a rejection with these words, so that there
 * is one way to hear that something is wrong. Arguments travel in the body of a POST, never in a URL.
 */

/* Rows that `mappings` and `guide` give at once. */
const PAGE = 1000;
/* Most rows that are fetched: beyond that a browser shows no table that anybody reads. */
const MOST = 5000;

/* The words of an error, for those who have no shell. LuCI puts the places in its code behind them. */
function words(error) {
	const silent = (/^no (natf-routerd|natf-endd|tsn-dnsd) answers/).exec(error);

	return silent ? _('%s is not running.').format(silent[1]) : error.split('\n')[0];
}

function declare(object, method, params) {
	const call = rpc.declare({ object: object, method: method, params: params || [], reject: true });

	return function(...values) {
		return call(...values).then(function(answer) {
			if (answer != null && answer.error)
				throw new Error(answer.error);

			return answer;
		}).catch(function(error) {
			throw new Error(words(String(error.message || error)));
		});
	};
}

/* All rows of a table that comes in pages; `next` says where the page behind these rows begins. */
function paged(call, key, next) {
	const rows = [];

	const fetch = (from) => call(from).then(function(answer) {
		const page = answer[key] || [];

		rows.push(...page);

		if (page.length < PAGE || rows.length >= MOST)
			return { rows: rows, total: answer.total };

		return fetch(next(rows));
	});

	return fetch(0);
}

const mappings = declare('natf', 'mappings', [ 'from' ]);
const guide = declare('natf', 'guide', [ 'from' ]);
const rcList = declare('rc', 'list', [ 'name' ]);

return baseclass.extend({
	status: declare('natf', 'status'),
	hosts: declare('natf', 'hosts'),
	peers: declare('natf', 'peers'),
	check: declare('natf', 'check'),
	refusals: declare('natf', 'refusals'),
	why: declare('natf', 'why', [ 'name', 'service', 'peer' ]),
	peerAdd: declare('natf', 'peer_add', [ 'name', 'role', 'hosts', 'domain' ]),
	peerRename: declare('natf', 'peer_rename', [ 'name', 'to' ]),
	peerRemove: declare('natf', 'peer_remove', [ 'name' ]),
	/* The source says which flow is meant: ids are used again. */
	end: declare('natf', 'end', [ 'id', 'source' ]),
	dnsdStatus: declare('natf', 'dnsd_status'),
	dnsdRouters: declare('natf', 'dnsd_routers'),
	dnsdZones: declare('natf', 'dnsd_zones'),
	dnsdFlush: declare('natf', 'dnsd_flush'),
	lookup: declare('luci.natf', 'lookup'),
	rcInit: declare('rc', 'init', [ 'name', 'action' ]),

	mappings: () => paged(mappings, 'mappings', (rows) => rows[rows.length - 1].id + 1),
	guide: () => paged(guide, 'guide', (rows) => rows.length),

	/* Whether an init script is there, enabled and running. */
	service: (name) => rcList(name).then((list) => list[name]),

	/* Turns a failure into a value: `{ value }` or `{ error }`, for pages that show what they have. */
	settle: (promise) => promise.then(
		(value) => ({ value: value }),
		(error) => ({ error: error.message || String(error) })
	)
});
