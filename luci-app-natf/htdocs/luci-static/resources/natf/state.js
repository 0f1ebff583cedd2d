'use strict';
'require baseclass';
'require uci';
'require natf.calls as calls';
'require natf.page as page';

/*
 * What the overview and the tile know of the router, and what of it somebody should do something about.
 */

/* Networks behind which nobody is reached from outside. */
const PRIVATE = [
	[ '10.0.0.0', 8 ],
	[ '172.16.0.0', 12 ],
	[ '192.168.0.0', 16 ],
	[ '169.254.0.0', 16 ]
];
/* RFC 6598, and RFC 7335 for DS-Lite. */
const CARRIER = [
	[ '100.64.0.0', 10 ],
	[ '192.0.0.0', 29 ]
];

const number = (address) => address.split('.').reduce((sum, part) => sum * 256 + +part, 0);

function isIn(networks, address) {
	return networks.some(([ network, length ]) => {
		const size = Math.pow(2, 32 - length);

		return Math.floor(number(address) / size) == Math.floor(number(network) / size);
	});
}

/* Every so many times the files are checked and the hosts asked for: for a small router that is work. */
const SELDOM = 6;

let slow = null;
let age = 0;
let answered = null;

/* The check of the files and the hosts: anew from time to time, and where the daemon has come or gone. */
function loadSlow(answers) {
	if (slow == null || age >= SELDOM || answers != answered) {
		slow = Promise.all([ calls.settle(calls.check()), calls.settle(calls.hosts()) ]);
		age = 0;
	}

	age++;
	answered = answers;

	return slow;
}

function load() {
	return Promise.all([ calls.settle(calls.status()), calls.settle(calls.service('natf')) ]).then(([ status, service ]) =>
		loadSlow(status.value != null).then(([ check, hosts ]) => ({
			status: status.value,
			/* What the daemon or the way to it has to say. */
			error: status.error,
			check: check.value,
			hosts: hosts.value ? hosts.value.hosts : null,
			service: service.value
		})));
}

/* The firewall's policy for what this router itself sends to the internet, where it is not to let it out. */
function blockedOutput() {
	const devices = uci.sections('natf', 'router').flatMap((router) => L.toArray(router.wan || 'wan'));
	const policy = (uci.sections('firewall', 'defaults')[0] || {}).output;
	const zone = uci.sections('firewall', 'zone').find((zone) => L.toArray(zone.network).some((name) =>
		name == 'wan' || devices.includes(uci.get('network', name, 'device'))));
	const output = zone ? zone.output || policy : null;

	return (/^(drop|reject)$/i).test(output || '') ? zone.name || 'wan' : null;
}

/* A warning: how bad, what is the matter, what to do, and where: [page, title]. */
const warn = (kind, what, todo, link) => ({ kind: kind, what: what, todo: todo, link: link });

function ofService(state) {
	if (state.service && !state.service.enabled)
		return warn('warning', _('The service does not start when the router boots.'), _('Press "Enable".'));

	return null;
}

function ofDaemon(state) {
	if (state.status)
		return null;

	const off = uci.sections('natf', 'router').some((router) => (/^(0|no|off|false|disabled)$/i).test(router.enabled || ''));

	if (off)
		return warn('error', _('NAT-f is switched off: nobody is let in.'), _('Switch it on.'), [ 'settings', _('Settings') ]);

	if (state.service && !state.service.running)
		return warn('error', _('natf-routerd is not running: nobody is let in, and running connections stay as they are.'),
			_('Press "Start". If it stops again, the system log says why.'));

	return warn('error', state.error, _('Restart the service. If that does not help, the system log says more.'));
}

function ofAddress(state) {
	const outside = state.status ? state.status.outside : null;

	if (state.status && outside == null)
		return warn('error', _('The WAN has no IPv4 address.'),
			_('Wait for the connection, or correct the WAN devices.'), [ 'settings', _('Settings') ]);

	if (outside && isIn(CARRIER, outside))
		return warn('warning', _('The WAN address %s belongs to the provider\'s NAT (CGNAT or DS-Lite): peers cannot reach it.').format(outside),
			_('Ask the provider for a public IPv4 address.'));

	if (outside && isIn(PRIVATE, outside))
		return warn('warning', _('The WAN address %s is private: another router with NAT stands in front of this one.').format(outside),
			_('Switch that router to bridge mode, or make this router its exposed host (DMZ), pings included.'));

	return null;
}

function ofPeers(state) {
	if (state.status && state.status.peers == 0)
		return warn('notice', _('No peer is enrolled: nobody with a key can come in.'), _('Enrol a laptop or phone.'), [ 'peers', _('Peers') ]);

	return null;
}

function ofHosts(state) {
	const allowed = (state.hosts || []).filter((host) => host.access == 'allow');
	const open = allowed.filter((host) => host.anyone);
	const warnings = [];

	if (state.hosts && allowed.length == 0)
		warnings.push(warn('notice', _('No host is allowed: nothing can be reached.'), _('Allow a host.'), [ 'hosts', _('Hosts') ]));

	if (open.length)
		warnings.push(warn('warning', _('Open to anyone on the internet, without a key: %s').format(open.map((host) => host.name).join(', ')),
			_('Name peers instead, unless that is what you want.'), [ 'hosts', _('Hosts') ]));

	return warnings;
}

function ofNames(state, lookups) {
	const outside = state.status ? state.status.outside : null;

	if (state.status && state.status.domains.length == 0)
		return warn('notice', _('The home has no name yet: peers reach hosts by names below it.'),
			_('Enter the DDNS name.'), [ 'settings', _('Settings') ]);

	/* Behind another NAT the name leads to that one, and there is a warning of its own. Without DNS nothing is known. */
	const wrong = outside && !isIn(PRIVATE.concat(CARRIER), outside)
		? (lookups || []).find((name) => name.addresses && !name.addresses.includes(outside)) : null;

	if (!wrong)
		return null;

	return warn('warning', wrong.addresses.length
		? _('%s leads to %s, not to this router (%s).').format(wrong.name, wrong.addresses.join(', '), outside)
		: _('%s has no IPv4 address in DNS.').format(wrong.name),
	_('Have the DDNS service answer the name, and the names below it, with the WAN address.'), [ 'settings', _('Settings') ]);
}

function ofFirewall() {
	const zone = blockedOutput();

	return zone == null ? null : warn('warning',
		_('The firewall does not let this router answer: output of zone "%s" is not accepted.').format(zone),
		_('Set the zone\'s output to "accept" (Network, Firewall).'));
}

function ofConfig(state) {
	return state.check && !state.check.good ? warn('error',
		_('The configuration is wrong and does not count; the last good one does.'), _('Correct what is listed below.')) : null;
}

return baseclass.extend({
	load: load,

	/* Everything that is to be done, the worst first; `lookups` is what names resolve to, where that is known. */
	warnings: (state, lookups) => [
		ofDaemon(state), ofConfig(state), ofAddress(state), ofFirewall(), ofNames(state, lookups), ofService(state),
		ofPeers(state), ofHosts(state)
	].flat().filter((warning) => warning != null),

	/* What peers of this home get wrong is their own; these are its refusals of all reasons. */
	refusals: (counters) => Object.keys(counters).filter((name) => name.startsWith('refused_'))
		.reduce((sum, name) => sum + counters[name], 0),

	badge: (running) => running ? page.label(_('Running'), 'success') : page.label(_('Not running'), 'warning')
});
