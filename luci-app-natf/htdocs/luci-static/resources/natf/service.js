'use strict';
'require baseclass';
'require natf.calls as calls';
'require natf.page as page';

/* Start, stop and enable of one init script, for its page. */
class Service {
	/* `changed` is called after something was done. */
	constructor(name, changed) {
		const run = (action) => () => calls.rcInit(name, action).then(changed)
			.catch((error) => page.notify(_('"%s" did not work: %s').format(action, error.message), 'danger'));

		this.buttons = {
			start: page.button(_('Start'), 'positive', run('start')),
			restart: page.button(_('Restart'), 'action', run('restart')),
			stop: page.button(_('Stop'), 'negative', run('stop')),
			enable: page.button(_('Enable'), 'positive', run('enable'), { 'title': _('Start it when the router boots') }),
			disable: page.button(_('Disable'), 'negative', run('disable'), { 'title': _('Do not start it when the router boots') })
		};
		this.node = page.el('div', { 'role': 'group', 'aria-label': _('Service') },
			Object.values(this.buttons).map((button) => [ button, ' ' ]));
		this.show({}, false);
	}

	/* Only what makes a difference is offered. Who answers is running, whoever started it. */
	show(service, answers) {
		const running = service.running || answers;
		const offered = { start: !running, restart: running, stop: running, enable: !service.enabled, disable: service.enabled };

		for (const name in offered)
			this.buttons[name].style.display = offered[name] ? '' : 'none';
	}
}

return baseclass.extend({
	create: (name, changed) => new Service(name, changed)
});
