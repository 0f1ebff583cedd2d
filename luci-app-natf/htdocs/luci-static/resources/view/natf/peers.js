'use strict';
'require view';
'require form';
'require uci';
'require ui';
'require natf.calls as calls';
'require natf.enrol as enrol';
'require natf.fields as fields';
'require natf.page as page';

/*
 * The enrolled peers. What they may ask for are settings like all others: staged, then applied. A peer's name, its key and
 * its being there are not: they stand in the configuration and in the key file, and change in both at once.
 */

const el = page.el;

const roles = () => ({ node: _('node'), tsn: _('TSN server'), sip: _('SIP proxy') });

/* Changes of this peer that wait to be applied would bring its section back to life under the former name. */
const isStaged = (peer) => uci.changes().then((changes) => (changes.natf || []).some(([ , section ]) => section == peer));

return view.extend({
	load() {
		return Promise.all([ calls.settle(calls.peers()), uci.load('natf') ]);
	},

	render([ answer ]) {
		const map = this.map = new form.Map('natf', _('Peers'),
			_('Outside nodes that have a key of this router. Enrolling, renaming and revoking take effect at once, as they change the key file, too; the other settings wait for "Save & Apply".'));
		const section = map.section(form.GridSection, 'peer');

		this.answer = answer;
		section.anonymous = true;
		section.addremove = false;
		section.modaltitle = (id) => [ id ];
		section.nodescriptions = true;
		page.nameDialogues(section);
		/* LuCI's own way to add makes a section without a key. */
		section.renderSectionAdd = () => el('div', { 'class': 'cbi-section-create' },
			page.button(_('Enrol a peer'), 'add', () => enrol.ask(() => this.reload()), { 'id': 'natf-enrol' }));
		section.renderSectionPlaceholder = () => el('em', {}, _('No peer is enrolled.'));
		this.addColumns(section);
		this.addActions(section);
		this.error = page.errorPlace();
		this.error.show(answer.error);
		page.watch(() => calls.settle(calls.peers()).then((next) => this.show(next)), 5);

		return map.render().then((nodes) => el('div', {}, page.readonlyNotice(),
			this.error.node, nodes));
	},

	addColumns(section) {
		const name = section.option(form.DummyValue, '_name', _('Name'));
		name.modalonly = false;
		fields.asText(name, (id) => id);

		const enabled = section.option(fields.Switch, 'enabled', _('Enabled'), _('Off shuts the peer out without removing it.'));
		enabled.default = '1';
		enabled.rmempty = true;
		fields.asText(enabled, (id, value) => value == '0' ? page.label(_('off'), 'warning') : _('on'));

		const role = section.option(form.ListValue, 'role', _('Role'));
		role.value('node', _('Node: a laptop, phone or server that connects itself'));
		role.value('tsn', _('TSN: a DNS server that announces its clients'));
		role.default = 'node';
		fields.asText(role, (id, value) => roles()[value || 'node'] || value);

		const hosts = section.option(form.DynamicList, 'host', _('Hosts'),
			_('What it may ask for, as far as the rows of these hosts allow; all of them, if none is named.'));
		fields.hosts().forEach((id) => hosts.value(fields.hostName(id), el('span', {}, fields.hostName(id))));
		hosts.placeholder = _('all');
		hosts.validate = (id, text) => text == '' || fields.isHostName(text) || _('The name of a host');
		fields.asText(hosts, (id, value) => L.toArray(value).join(', ') || _('all'));

		for (const [ option, title, show ] of [ [ '_seen', _('Last seen'), this.seen ], [ '_flows', _('Live flows'), this.flows ] ]) {
			const column = section.option(form.DummyValue, option, title);

			column.modalonly = false;
			fields.asText(column, (id) => el('span', { 'data-live': option, 'data-peer': id }, show.call(this, id)));
		}
	},

	/* Beside "Edit": what changes both files. */
	addActions(section) {
		section.renderRowActions = (id) => {
			const cell = form.GridSection.prototype.renderRowActions.call(section, id);

			cell.lastElementChild.append(
				page.button(_('Rename'), 'neutral', () => this.rename(id), { 'aria-label': _('Rename %s').format(id) }), ' ',
				page.button(_('Revoke'), 'remove', () => this.revoke(id), { 'aria-label': _('Revoke %s').format(id) }));

			return cell;
		};
	},

	live(id) {
		return this.answer.value ? this.answer.value.peers.find((peer) => peer.name == id) : null;
	},

	seen(id) {
		const peer = this.live(id);

		return !peer ? '–' : peer.last_seen == null ? _('never since the start') : page.moment(peer.last_seen);
	},

	flows(id) {
		const peer = this.live(id);

		return peer ? String(peer.mappings) : '–';
	},

	show(answer) {
		this.answer = answer;
		this.error.show(answer.error);

		for (const node of document.querySelectorAll('[data-live]')) {
			const show = node.getAttribute('data-live') == '_seen' ? this.seen : this.flows;

			page.write(node, show.call(this, node.getAttribute('data-peer')));
		}
	},

	/* The file has changed under LuCI: what it knows of it is read anew. */
	reload() {
		uci.unload('natf');

		return uci.load('natf')
			.then(() => calls.settle(calls.peers()))
			.then((answer) => { this.answer = answer; })
			.then(() => this.map.load())
			.then(() => this.map.reset());
	},

	/* Runs something that changes the files, unless staged changes of this peer stand against it. */
	unstaged(id, action) {
		return isStaged(id).then((is) => is
			? page.notify(_('%s has changes that are not applied yet: apply or revert them first.').format(id), 'warning')
			: action());
	},

	rename(id) {
		const data = { peer: { name: id } };
		const map = new form.JSONMap(data, null, _('The device needs no new key. Rows of hosts that name the peer follow.'));
		const section = map.section(form.NamedSection, 'peer', 'peer');
		const name = section.option(form.Value, 'name', _('New name'));
		const error = page.errorPlace();

		name.rmempty = false;
		name.validate = (one, text) => text == id ? _('That is its name already') : fields.checkPeerName(text);

		const change = () => map.parse()
			.then(() => calls.peerRename(id, name.formvalue('peer')))
			.then((answer) => {
				page.closeModal();

				if (answer.warning)
					page.notify(answer.warning, 'warning');

				return this.reload();
			})
			.catch((problem) => error.show(problem.message));

		return this.unstaged(id, () => map.render().then((nodes) => page.modal(_('Rename %s').format(id), [ nodes, error.node ],
			[ page.closer(_('Cancel')), ' ', page.button(_('Rename'), 'positive important', change) ])));
	},

	revoke(id) {
		const remove = () => calls.peerRemove(id).then((answer) => {
			page.notify(answer.ended == null ? _('%s is revoked. %s').format(id, answer.warning || '')
				: _('%s is revoked; live flows that ended: %d').format(id, answer.ended), 'info');

			return this.reload();
		});

		return this.unstaged(id, () => page.ask(_('Revoke %s').format(id),
			el('p', {}, _('Its key is removed and its live flows end (at present: %s). To let it in again it has to be enrolled anew.').format(this.flows(id))),
			_('Revoke'), remove));
	}
});
