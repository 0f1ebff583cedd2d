/* LuCI's status overview: the tiles in view/status/include, loaded and drawn again and again. */
'use strict';
'require view';
'require dom';
'require poll';
'require fs';

return view.extend({
	load: () => fs.list('/www/luci-static/resources/view/status/include').then((entries) => Promise.all(entries
		.filter((entry) => entry.name.endsWith('.js'))
		.map((entry) => L.require(`view.status.include.${entry.name.slice(0, -3)}`)))),

	async render(tiles) {
		const places = tiles.map(() => E('div'));
		const show = () => Promise.all(tiles.map(async (tile, i) => dom.content(places[i], tile.render(await tile.load?.()))));
		await show();
		poll.add(show);
		return E([], tiles.map((tile, i) => E('div', { 'class': 'cbi-section' }, [ E('h3', {}, [ tile.title ]), places[i] ])));
	},

	handleSave: null,
	handleSaveApply: null,
	handleReset: null
});
