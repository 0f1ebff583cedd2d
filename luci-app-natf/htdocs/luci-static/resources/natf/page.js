'use strict';
'require baseclass';
'require dom';
'require poll';
'require ui';

/*
 * What all views are built with. LuCI takes a string as the child of an element for HTML; names of hosts and peers,
 * reasons and addresses come from other people. So every element is made by `el`, whose children are nodes or text.
 */

function el(tag, attributes, ...children) {
	return E(tag, attributes || {}, children.flat(Infinity));
}

/* Replaces the content of a node. */
function fill(node, ...children) {
	dom.content(node, children.flat(Infinity));
	return node;
}

/* Replaces text only where it differs: what a reader has marked stays marked. */
function write(node, text) {
	if (node.textContent !== text)
		node.textContent = text;
}

function label(text, kind, title) {
	return el('span', { 'class': `label ${kind || ''}`, 'title': title || null }, text);
}

const isReadonly = () => !L.hasViewPermission();

const readonlyReason = () => _('Your account may look at this, but not change it.');

/* A button that is disabled, and says why, for those who may only look. */
function button(text, kind, action, attributes) {
	const denied = isReadonly();

	return el('button', Object.assign({
		'type': 'button',
		'class': `btn cbi-button cbi-button-${kind}`,
		'click': ui.createHandlerFn(null, action),
		'disabled': denied || null
	}, attributes, denied ? { 'title': readonlyReason(), 'disabled': '' } : null), text);
}

/* Switches a button on or off, and says why it is off. Who may only look has it off in any case. */
function enable(node, is, reason) {
	if (isReadonly())
		return;

	node.disabled = !is;
	node.title = is ? '' : reason;
}

function notify(text, kind) {
	ui.addNotification(null, el('p', {}, text), kind || 'info');
}

const dialogueNode = () => document.querySelector('#modal_overlay .modal');

/* Names a dialogue by its heading, and so only as long as that is there: LuCI shows all dialogues in one place. */
function nameByHeading(dialogue) {
	const heading = dialogue.querySelector('h4');

	if (heading) {
		heading.id = 'natf-heading';
		dialogue.setAttribute('aria-labelledby', heading.id);
	}
}

/* LuCI's dialogues of a grid have a heading; screen readers ask for a name. */
function nameDialogues(section) {
	const render = section.renderMoreOptionsModal;

	section.renderMoreOptionsModal = (...values) => Promise.resolve(render.apply(section, values)).then((result) => {
		nameByHeading(dialogueNode());

		return result;
	});
}

/* Closes the dialogue and forgets what stood in it. */
function closeModal() {
	const dialogue = dialogueNode();

	ui.hideModal();

	if (dialogue)
		dom.content(dialogue, null);
}

function modal(title, content, buttons) {
	const dialogue = ui.showModal([ title ], [ el('div', {}, content), el('div', { 'class': 'button-row' }, buttons) ]);

	if (dialogue) {
		dialogue.setAttribute('role', 'dialog');
		dialogue.setAttribute('aria-modal', 'true');
		nameByHeading(dialogue);

		const first = dialogue.querySelector('input:not([type="hidden"]), select, textarea, button');

		if (first)
			first.focus();
	}

	return dialogue;
}

function closer(text) {
	return el('button', { 'type': 'button', 'class': 'btn cbi-button', 'click': closeModal }, text || _('Dismiss'));
}

/* Asks before something that cannot be undone. */
function ask(title, content, text, action) {
	modal(title, content, [
		closer(_('Cancel')), ' ',
		button(text, 'negative important', () => Promise.resolve(action()).then(closeModal, function(error) {
			closeModal();
			notify(error.message, 'danger');
		}))
	]);
}

/* Calls every few seconds while somebody looks, and at once when somebody looks again. */
function watch(action, seconds) {
	let running = null;

	const run = function() {
		if (document.hidden)
			return Promise.resolve();

		running = running || Promise.resolve(action()).finally(() => { running = null; });

		return running;
	};

	poll.add(run, seconds);
	document.addEventListener('visibilitychange', run);

	return run;
}

function duration(seconds) {
	if (seconds == null)
		return '–';

	const units = [ [ 86400, _('%d d') ], [ 3600, _('%d h') ], [ 60, _('%d min') ], [ 1, _('%d s') ] ];
	const at = Math.max(0, units.findIndex(([ unit ]) => seconds >= unit || unit == 1));
	const [ unit, form ] = units[at];
	const rest = units[at + 1];
	const text = form.format(Math.floor(seconds / unit));
	const left = rest ? Math.floor(seconds % unit / rest[0]) : 0;

	return left ? `${text} ${rest[1].format(left)}` : text;
}

function bytes(number) {
	return number == null ? '–' : '%1024.1mB'.format(number);
}

/* A moment in unix seconds, as the reader's clock shows it. */
function moment(unix) {
	return new Date(unix * 1000).toLocaleString();
}

/* A definition list that is a table in LuCI's manner: [title, content] for each row. */
function facts(rows) {
	return el('table', { 'class': 'table' }, rows.map(([ title, ...content ]) => el('tr', { 'class': 'tr' },
		el('td', { 'class': 'td left', 'width': '33%' }, title),
		el('td', { 'class': 'td left' }, content))));
}

/* Tells those who may only look so, once at the top of a page. */
function readonlyNotice() {
	return isReadonly() ? el('div', { 'class': 'alert-message notice', 'role': 'note' }, readonlyReason()) : [];
}

/* The place of an error: empty while there is none. Screen readers say what appears in it. */
function errorPlace() {
	const node = el('div', { 'role': 'alert' });

	return {
		node: node,
		show(text) {
			if (node.textContent !== (text || ''))
				fill(node, text ? el('div', { 'class': 'alert-message error' }, text) : []);
		}
	};
}

return baseclass.extend({
	el: el,
	fill: fill,
	write: write,
	label: label,
	button: button,
	enable: enable,
	notify: notify,
	modal: modal,
	nameDialogues: nameDialogues,
	closeModal: closeModal,
	closer: closer,
	ask: ask,
	watch: watch,
	duration: duration,
	bytes: bytes,
	moment: moment,
	facts: facts,
	isReadonly: isReadonly,
	readonlyReason: readonlyReason,
	readonlyNotice: readonlyNotice,
	errorPlace: errorPlace
});
