/* LuCI.fs: files by way of the ubus object `file`. */
'use strict';
'require baseclass';
'require rpc';

const call = (method, params, expect) => rpc.declare({ object: 'file', method, params, expect, reject: true });

return baseclass.extend({
	list: call('list', [ 'path' ], { entries: [] }),
	read: call('read', [ 'path' ], { data: '' })
});
