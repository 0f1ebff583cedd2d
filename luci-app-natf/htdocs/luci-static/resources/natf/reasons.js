'use strict';
'require baseclass';
'require natf.page as page';
'require natf.services as services';

/*
 * The reasons for which the daemon refuses: what each check asks, what it means that it fails, what to do then, and what
 * the host's row (as `hosts` gives it) and the daemon's words have to say about it.
 */
const reasons = () => ({
	unknown_host: {
		check: _('The name is known: a host has it'),
		failure: _('no host has this name'),
		remedy: _('Add the host, or correct the name.')
	},
	denied: {
		check: _('The host is allowed'),
		failure: _('the host is denied'),
		remedy: _('Switch the host to allowed.'),
		detail: (row) => row.access == 'allow' ? _('allowed') : _('denied')
	},
	expired: {
		check: _('The access has not expired'),
		failure: _('the access has expired'),
		remedy: _('Enter a later end, or none.'),
		detail: (row) => row.until == null ? _('no end') : page.moment(row.until)
	},
	peer_not_allowed: {
		check: _('The host is open to this peer, and the peer may ask for it'),
		failure: _('the host is not open to this peer, or the peer may not ask for it'),
		remedy: _('Add the peer to the host\'s row, or the host to the peer.'),
		detail: (row) => row.anyone ? _('anyone') : row.peers == null ? _('every enrolled peer') : row.peers.join(', ')
	},
	service_not_allowed: {
		check: _('The service is allowed'),
		failure: _('the service is not allowed'),
		remedy: _('Add the service to the host\'s row.'),
		detail: (row) => row.services.map(services.show).join(', ') || _('everything')
	},
	host_away: {
		check: _('The host\'s address is known'),
		failure: _('the host\'s address is not known'),
		remedy: _('Switch the host on, or correct its MAC address.'),
		detail: (row) => row.address || '–'
	},
	table_full: {
		check: _('There is room for one more flow, with a port of its own'),
		failure: _('there is no room for one more flow'),
		remedy: _('End some flows, or raise the bounds in the settings.'),
		/* The daemon's words are "NUMBER mappings of MOST". */
		detail: (row, words) => words.replace(/^(\d+) mappings of (\d+)$/, (all, number, most) => _('%d of %d flows').format(number, most))
	},
	busy: {
		check: _('The kernel took it'),
		failure: _('the kernel had no room, or something passing went wrong'),
		remedy: _('Try again.')
	}
});

return baseclass.extend({
	/* What is known of a reason; a daemon that is newer than this page may have others. */
	of: (name) => Object.prototype.hasOwnProperty.call(reasons(), name) ? reasons()[name] : {}
});
