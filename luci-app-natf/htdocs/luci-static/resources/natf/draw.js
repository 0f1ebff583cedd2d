'use strict';
'require baseclass';
'require natf.page as page';

/* Drawings as SVG, made by DOM calls. */

const SVG = 'http://www.w3.org/2000/svg';

/* Light modules around a QR code that readers need (ISO 18004). */
const QUIET = 4;
const WIDTH = 300;
const HEIGHT = 60;

function svg(tag, attributes, ...children) {
	const node = document.createElementNS(SVG, tag);

	for (const name in attributes)
		node.setAttribute(name, attributes[name]);

	node.append(...children);

	return node;
}

/*
 * A QR code from rows of `1` (dark) and `0`. It is dark on white in every theme: not every reader takes the inverse.
 */
function qr(rows, title) {
	const size = rows.length + 2 * QUIET;
	const path = rows.map((row, y) => Array.from(row, (module, x) =>
		module == '1' ? `M${x + QUIET} ${y + QUIET}h1v1h-1z` : '').join('')).join('');

	return svg('svg', {
		'viewBox': `0 0 ${size} ${size}`,
		'role': 'img',
		'aria-label': title,
		'shape-rendering': 'crispEdges',
		'style': 'width:100%;max-width:22em;background:#fff'
	}, svg('path', { 'd': `M0 0h${size}v${size}H0z`, 'fill': '#fff' }), svg('path', { 'd': path, 'fill': '#000' }));
}

/*
 * Lines of the last values, which share one scale. `lines` are { title, color }; `add` takes a value for each.
 */
class Sparkline {
	constructor(title, length, lines) {
		this.length = length;
		this.lines = lines.map((line) => ({
			values: [],
			title: line.title,
			node: svg('polyline', { 'fill': 'none', 'stroke': line.color, 'stroke-width': 2, 'stroke-linejoin': 'round',
				'stroke-dasharray': line.dashes || 'none', 'vector-effect': 'non-scaling-stroke' }),
			sum: page.el('span')
		}));
		this.title = title;
		this.svg = svg('svg', { 'viewBox': `0 -2 ${WIDTH} ${HEIGHT + 4}`, 'role': 'img', 'preserveAspectRatio': 'none',
			'style': `width:100%;max-width:40em;height:${HEIGHT}px` },
			svg('path', { 'd': `M0 ${HEIGHT}H${WIDTH}`, 'stroke': 'currentColor', 'opacity': .3 }),
			...this.lines.map((line) => line.node));
		this.node = page.el('figure', { 'style': 'margin:0' }, this.svg, page.el('figcaption', {}, this.lines.map((line, at) => [
			at ? ' · ' : '',
			page.el('span', { 'style': `color:${lines[at].color}`, 'aria-hidden': 'true' }, lines[at].dashes ? '┅ ' : '━ '),
			line.sum
		])));
	}

	add(values) {
		this.lines.forEach((line, at) => {
			line.values.push(values[at]);
			line.values.splice(0, line.values.length - this.length);
		});
		this.draw();
	}

	draw() {
		const most = Math.max(1, ...this.lines.map((line) => Math.max(...line.values)));
		const step = WIDTH / (this.length - 1);

		for (const line of this.lines) {
			const first = this.length - line.values.length;
			const points = line.values.map((value, at) =>
				`${((first + at) * step).toFixed(1)},${(HEIGHT - HEIGHT * value / most).toFixed(1)}`);

			line.node.setAttribute('points', points.join(' '));
			page.write(line.sum, `${line.title}: ${line.values.reduce((sum, value) => sum + value, 0)}`);
		}

		this.svg.setAttribute('aria-label', `${this.title}. ${this.lines.map((line) => line.sum.textContent).join(', ')}`);
	}
}

return baseclass.extend({
	qr: qr,
	sparkline: (title, length, lines) => new Sparkline(title, length, lines)
});
