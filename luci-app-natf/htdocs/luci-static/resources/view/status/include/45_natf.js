'use strict';
'require baseclass';
'require uci';
'require natf.page as page';
'require natf.state as state';

/* The tile on LuCI's status overview. */
return baseclass.extend({
	title: _('NAT-f'),

	load() {
		return Promise.all([ state.load(), L.resolveDefault(uci.load('natf')) ]).then(([ now ]) => now);
	},

	render(now) {
		const status = now.status;
		const warnings = state.warnings(now, null);
		const overview = page.el('a', { 'href': L.url('admin/services/natf/overview') }, _('Overview'));
		const rows = [ [ _('Service'), state.badge(status), ' ', overview ] ];

		if (status)
			rows.push(
				[ _('WAN address'), status.outside || '–' ],
				[ _('Enrolled peers'), status.peers ],
				[ _('Live flows'), status.mappings ]);

		if (warnings.length)
			rows.push([ _('To do'), page.el('ul', { 'style': 'margin:0' }, warnings.map((warning) => page.el('li', {}, warning.what))) ]);

		return page.facts(rows);
	}
});
