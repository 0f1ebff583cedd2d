'use strict';
'require baseclass';
'require form';
'require uci';
'require natf.page as page';
'require natf.services as services';

/*
 * Fields of forms and their checks, as the daemons check them: what a form lets pass, they accept.
 */

const HOST_NAME = /^[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*$/;
const MOST_NAME = 64;
const UNTIL = /^(\d{4})-(\d\d)-(\d\d)(?:[ T](\d\d):(\d\d)(?::(\d\d))?)?Z?$/;

/* LuCI puts a string into the table as HTML, but a node as it is. */
function asText(option, show) {
	option.textvalue = function(section) {
		const value = show.call(this, section, this.cfgvalue(section));

		return value instanceof Node ? value : page.el('span', {}, value == null || value === '' ? '–' : value);
	};
}

/* LuCI's switch has a label that screen readers do not connect with it; `named(section)` gives it another name. */
const Switch = form.Flag.extend({
	renderWidget(section, ...rest) {
		const node = form.Flag.prototype.renderWidget.call(this, section, ...rest);
		const box = node.querySelector('input[type="checkbox"]');

		if (box)
			box.setAttribute('aria-label', this.named ? this.named(section) : this.title);

		return node;
	}
});

/* The private name of a host: its option, else its section's name. */
function hostName(section) {
	return uci.get('natf', section, 'name') || section;
}

function hosts() {
	return uci.sections('natf', 'host').map((section) => section['.name']);
}

const peers = () => uci.sections('natf', 'peer').map((section) => section['.name']);

const isHostName = (text) => HOST_NAME.test(text) && text.length <= MOST_NAME;

function checkHostName(section, text) {
	if (!isHostName(text))
		return _('Letters, digits, "-" and "_", with dots between parts; 64 characters at most');

	const twin = hosts().find((other) => other != section && hostName(other).toLowerCase() == text.toLowerCase());

	return twin ? _('Another host has this name already') : true;
}

/* The name of a new peer: a section of its own in the configuration and in the key file. */
function checkPeerName(text) {
	if (!(/^[A-Za-z0-9_]{1,64}$/).test(text))
		return _('Letters, digits and "_", 64 at most');

	if (text == 'anyone')
		return _('"anyone" means nodes without a key');

	return uci.get('natf', text) ? _('The configuration has this name already') : true;
}

/* A domain name, as `option domain` takes it. */
function checkDomain(text) {
	const good = text.length <= 253 && (/^[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?$/).test(text);

	return good || _('A domain name, such as home.example.net');
}

function isIp4(text) {
	const parts = text.split('.');

	return parts.length == 4 && parts.every((part) => (/^(0|[1-9][0-9]{0,2})$/).test(part) && +part < 256);
}

/* An address that one host can have. */
function checkIp(text) {
	const first = +text.split('.')[0];

	return (isIp4(text) && first > 0 && first < 224 && first != 127) || _('The host\'s IPv4 address, such as 192.168.1.10');
}

const isIp6 = (text) => text.includes(':') && (/^[0-9a-f:.]+$/i).test(text);

/* A server: ADDRESS or ADDRESS#PORT, of either family. */
function checkEndpoint(text) {
	const [ , address, port ] = (/^([^#]+)(?:#([0-9]{1,5}))?$/).exec(text) || [];
	const good = address && (isIp6(address) || address == '0.0.0.0' || isIp4(address)) && (port == null || (+port >= 1 && +port <= 65535));

	return good || _('An address, such as 192.0.2.53, or one with a port: 192.0.2.53#5353');
}

/* A network with its length; a mere address is a network of one. */
function checkNetwork(text) {
	const [ , address, length ] = (/^([^\/]+)(?:\/([0-9]{1,3}))?$/).exec(text) || [];
	const good = address && (isIp6(address) ? +(length || 0) <= 128 : isIp4(address) && +(length || 0) <= 32);

	return good || _('A network, such as 198.51.100.0/24 or 2001:db8::/32');
}

function checkMac(text) {
	const good = (/^[0-9a-f]{2}([:-][0-9a-f]{2}){5}$/i).test(text) && !(parseInt(text.slice(0, 2), 16) & 1)
		&& !(/^[0:-]+$/).test(text);

	return good || _('The host\'s MAC address, such as 00:11:22:33:44:55');
}

/* A MAC address as the daemon writes it. */
const mac = (text) => (text || '').toLowerCase().replace(/-/g, ':');

/* A point in time as unix seconds: always UTC, and a day without a time is included. null where it is none. */
function parseUntil(text) {
	if ((/^[0-9]{10,12}$/).test(text))
		return +text;

	const found = UNTIL.exec(text);

	if (!found)
		return null;

	const [ year, month, day, hour, minute, second ] = found.slice(1).map((part) => +(part || 0));
	const date = new Date(Date.UTC(year, month - 1, day, hour, minute, second));
	const real = date.getUTCMonth() == month - 1 && date.getUTCDate() == day && hour < 24 && minute < 60 && second < 60;

	return real ? date.getTime() / 1000 + (found[4] == null ? 86400 : 0) : null;
}

const checkUntil = (text) => text == '' || parseUntil(text) != null
	|| _('2026-12-31 (included) or 2026-12-31 18:00, in UTC');

const checkService = (text) => text == '' || services.parse(text) != null || services.accepted();

return baseclass.extend({
	Switch: Switch,
	asText: asText,
	hostName: hostName,
	hosts: hosts,
	peers: peers,
	mac: mac,
	isHostName: isHostName,
	checkHostName: checkHostName,
	checkPeerName: checkPeerName,
	checkDomain: checkDomain,
	checkIp: checkIp,
	checkEndpoint: checkEndpoint,
	checkNetwork: checkNetwork,
	checkMac: checkMac,
	checkUntil: checkUntil,
	checkService: checkService,
	parseUntil: parseUntil
});
