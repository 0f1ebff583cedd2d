'use strict';
'require view';
'require form';
'require natf.fields as fields';
'require natf.page as page';

/* The router itself: `config router`, and where hosts register their names by themselves (`config ddns`). */

const numbers = () => [
	[ 'udp_port', _('UDP port'), '0', 'range(0,65535)', _('Port of the second carrier, for networks that lose pings; 0 = pings only.') ],
	[ 'port_min', _('First mapped port'), '16384', 'range(1024,65535)', _('External ports that live flows can take. Keep them clear of what runs on the router.') ],
	[ 'port_max', _('Last mapped port'), '32767', 'range(1024,65535)', null ],
	[ 'pending', _('Wait for the first packet'), '5', 'range(1,120)', _('Seconds.') ],
	[ 'max_mappings', _('Most live flows'), '32768', 'range(1,1000000)', null ],
	[ 'max_per_peer', _('… of one peer'), '4096', 'range(1,1000000)', null ],
	[ 'max_per_host', _('… to one host'), '8192', 'range(1,1000000)', null ],
	[ 'max_anyone', _('… of nodes without a key'), '256', 'range(0,1000000)', null ],
	[ 'max_guide', _('Most announced clients'), '4096', 'range(0,65536)', null ],
	[ 'guide_lifetime', _('Lifetime of an announcement'), '90', 'range(2,600)', _('Seconds; browsers keep names for 60 s.') ],
	[ 'learned_lifetime', _('Lifetime of a learned name'), '86400', 'range(60,31536000)', _('Seconds.') ],
	[ 'queue', _('Netfilter queue'), '4450', 'range(0,65535)', _('Change it if another program has this one.') ]
];

return view.extend({
	render() {
		const map = new form.Map('natf', _('Settings'), _('What this router is called, and its bounds.'));
		const router = map.section(form.TypedSection, 'router');

		router.anonymous = true;
		router.tab('general', _('General'));
		router.tab('bounds', _('Ports and bounds'));

		let option = router.taboption('general', fields.Switch, 'enabled', _('Enabled'), _('Off: nobody is let in.'));
		option.default = '1';

		option = router.taboption('general', form.DynamicList, 'domain', _('Name of the home'),
			_('Has to lead to this router from outside, as do the names below it: a wildcard, or a name for each host. Usually the name of your DDNS service.'));
		option.placeholder = 'home.example.net';
		option.validate = (id, text) => text == '' || fields.checkDomain(text);

		option = router.taboption('general', form.DynamicList, 'wan', _('WAN devices'), _('Towards the internet.'));
		option.placeholder = 'wan';
		option.datatype = 'maxlength(15)';

		option = router.taboption('general', form.DynamicList, 'lan', _('LAN devices'),
			_('The home network: who asks from here gets the host\'s own address.'));
		option.placeholder = 'br-lan';
		option.datatype = 'maxlength(15)';

		for (const [ name, title, usual, datatype, description ] of numbers()) {
			option = router.taboption('bounds', form.Value, name, title, description);
			option.placeholder = usual;
			option.datatype = datatype;
		}

		const ddns = map.section(form.GridSection, 'ddns', _('Names that hosts register'),
			_('Hosts that send dynamic updates (RFC 2136) through this router teach it their names, once the DNS server agrees. A host still needs a row of its own to be reached.'));

		ddns.anonymous = true;
		ddns.addremove = true;
		ddns.nodescriptions = true;
		page.nameDialogues(ddns);
		ddns.addbtntitle = _('Add a DNS server');
		ddns.modaltitle = () => [ _('Names that hosts register') ];

		option = ddns.option(fields.Switch, 'enabled', _('Enabled'));
		option.default = '1';
		option.editable = true;

		option = ddns.option(form.DynamicList, 'server', _('DNS servers'), _('IPv4 addresses, outside the home.'));
		option.rmempty = false;
		option.datatype = 'ip4addr("nomask")';
		fields.asText(option, (id, value) => L.toArray(value).join(', '));

		option = ddns.option(form.DynamicList, 'zone', _('Zones'), _('Names in and below these count.'));
		option.rmempty = false;
		option.validate = (id, text) => text == '' || fields.checkDomain(text);
		fields.asText(option, (id, value) => L.toArray(value).join(', '));

		return map.render().then((nodes) => page.el('div', {}, page.readonlyNotice(), nodes));
	}
});
