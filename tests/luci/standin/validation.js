/* LuCI.validation: the data types that the views name, and the marks on a field whose value is wrong. */
'use strict';
'require baseclass';

const IPV4 = /^(25[0-5]|2[0-4]\d|1?\d?\d)(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}$/;
const integer = (value) => /^-?\d+$/.test(value);
const between = (value, low, high) => integer(value) && Number(value) >= Number(low) && Number(value) <= Number(high);
const length = (value) => new TextEncoder().encode(value).length;

/* name: [ check(value, ...parameters), what is accepted ] */
const types = {
	string: [ () => true, '' ],
	integer: [ integer, 'valid integer value' ],
	uinteger: [ (v) => integer(v) && Number(v) >= 0, 'positive integer value' ],
	port: [ (v) => between(v, 0, 65535), 'valid port value' ],
	ip4addr: [ (v) => IPV4.test(v), 'valid IPv4 address' ],
	ipaddr: [ (v) => IPV4.test(v) || /^[0-9a-f:.]*:[0-9a-f:.]*$/i.test(v), 'valid IP address' ],
	cidr4: [ (v) => IPV4.test(v.split('/')[0]) && /^[^/]+\/(3[0-2]|[12]?\d)$/.test(v), 'valid IPv4 CIDR' ],
	ip4prefix: [ (v) => between(v, 0, 32), 'valid IPv4 prefix value (0-32)' ],
	macaddr: [ (v) => /^[0-9a-f]{2}([:-][0-9a-f]{2}){5}$/i.test(v), 'valid MAC address' ],
	hostname: [ (v) => length(v) < 254 && /^[a-z0-9_]([a-z0-9_.-]*[a-z0-9])?$/i.test(v) && /[^0-9.]/.test(v), 'valid hostname' ],
	uciname: [ (v) => /^[a-zA-Z0-9_]+$/.test(v), 'valid UCI identifier' ],
	range: [ between, 'value between %d and %d' ],
	min: [ (v, low) => integer(v) && Number(v) >= Number(low), 'value greater or equal to %d' ],
	max: [ (v, high) => integer(v) && Number(v) <= Number(high), 'value smaller or equal to %d' ],
	maxlength: [ (v, most) => length(v) <= Number(most), 'value with at most %d characters' ],
	minlength: [ (v, least) => length(v) >= Number(least), 'value with at least %d characters' ],
	rangelength: [ (v, low, high) => length(v) >= low && length(v) <= high, 'value between %d and %d characters' ],
	netdevname: [ (v) => /^[^\s/]{1,15}$/.test(v) && v != '.' && v != '..', 'valid network device name' ],
	hexstring: [ (v) => /^([0-9a-f]{2})+$/i.test(v), 'hexadecimal encoded value' ]
};

/* 'or(ip4addr,"*")' -> [ 'or', [ 'ip4addr' ], '*' ]: names are lists, literals are strings. */
function parse(expression) {
	const tokens = expression.match(/"[^"]*"|'[^']*'|[\w.-]+|[(),]/g) || [];
	const term = () => {
		const token = tokens.shift();
		if (/^["']/.test(token))
			return token.slice(1, -1);
		const parameters = [];
		if (tokens[0] == '(') {
			while (tokens.shift() != ')' && tokens[0] != ')')
				parameters.push(term());
		}
		return [ token, ...parameters ];
	};
	return term();
}

/* null, or what is expected. */
function problem(value, term) {
	if (typeof(term) == 'string')
		return value == term ? null : `"${term}"`;
	const [ name, ...parameters ] = term;
	if (name == 'or' || name == 'and') {
		const found = parameters.map((inner) => problem(value, inner));
		const fine = name == 'or' ? found.includes(null) : found.every((text) => text === null);
		return fine ? null : found.filter((text) => text !== null).join(name == 'or' ? _(' or ') : '; ');
	}
	if (name == 'list')
		return value.trim().split(/\s+/).map((word) => problem(word, parameters[0])).find((text) => text) ?? null;
	if (name == 'neg')
		return problem(value.replace(/^\s*!\s*/, ''), parameters[0]);
	if (!(name in types)) {
		console.error(`the stand-in has no data type '${name}'`);
		return name;
	}
	const [ check, text ] = types[name];
	const numbers = parameters.map((parameter) => parameter[0]);
	return check(value, ...numbers) ? null : _(text).format(...numbers);
}

return baseclass.extend({
	/* A validator of one field; validate() marks it and tells whether its value is right. */
	create(field, type, optional, vfunc) {
		const term = parse(type);
		const verdict = () => {
			const value = field.matches('input, select, textarea') ? field.value : '';
			if (value == '')
				return optional ? vfunc?.(value) ?? true : _('Expecting: %s').format(_('non-empty value'));
			const wrong = problem(value, term);
			return wrong ? _('Expecting: %s').format(wrong) : vfunc?.(value) ?? true;
		};
		return { validate: () => this.mark(field, field.closest('[hidden], .hidden') ? true : verdict()) };
	},

	mark(field, result) {
		const fine = result === true;
		field.classList.toggle('cbi-input-invalid', !fine);
		field.setAttribute('data-tooltip', fine ? '' : result);
		if (fine)
			field.removeAttribute('data-tooltip');
		field.setAttribute('data-tooltip-style', 'error');
		field.dispatchEvent(new CustomEvent(fine ? 'validation-success' : 'validation-failure',
			{ bubbles: true, detail: { message: fine ? '' : String(result) } }));
		return fine;
	}
});
