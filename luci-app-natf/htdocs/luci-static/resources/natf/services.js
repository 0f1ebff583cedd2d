'use strict';
'require baseclass';

/*
 * Services by their well-known names, and what `list service` accepts: tcp:22, udp:5000-5010, tcp:*, *:53, *.
 */

const KNOWN = [
	[ 'ssh', 'tcp:22' ],
	[ 'http', 'tcp:80' ],
	[ 'https', 'tcp:443' ],
	[ 'smb', 'tcp:445' ],
	[ 'rdp', 'tcp:3389' ],
	[ 'vnc', 'tcp:5900' ],
	[ 'ftp', 'tcp:21' ],
	[ 'minecraft', 'tcp:25565' ],
	[ 'minecraft-bedrock', 'udp:19132' ],
	[ 'home-assistant', 'tcp:8123' ],
	[ 'jellyfin', 'tcp:8096' ],
	[ 'plex', 'tcp:32400' ],
	[ 'rtsp', 'tcp:554' ],
	[ 'mqtt', 'tcp:1883' ],
	[ 'ipp', 'tcp:631' ],
	[ 'imaps', 'tcp:993' ],
	[ 'dns', '*:53' ],
	[ 'wireguard', 'udp:51820' ]
];

const isPort = (text) => (/^[0-9]{1,5}$/).test(text) && +text >= 1 && +text <= 65535;

/* The service that a name or a service stands for; null where it is none. */
function parse(text) {
	const known = KNOWN.find(([ name ]) => name == text.toLowerCase());

	if (known)
		return known[1];

	if (text == '*')
		return text;

	const found = (/^(tcp|udp|\*):(?:(\*)|([0-9]+)(?:-([0-9]+))?)$/i).exec(text);

	if (!found)
		return null;

	const [ , protocol, all, first, last ] = found;
	const good = all || (isPort(first) && (last == null || (isPort(last) && +first <= +last)));

	return good ? text.replace(protocol, protocol.toLowerCase()) : null;
}

/* How a service is shown: its name where it has one. */
function show(service) {
	const known = KNOWN.find(([ , value ]) => value == service);

	return known ? known[0] : service;
}

return baseclass.extend({
	known: KNOWN,
	parse: parse,
	show: show,
	accepted: () => _('A name from the list, or tcp:22, udp:5000-5010, tcp:*, *:53 (both protocols), * (everything)')
});
