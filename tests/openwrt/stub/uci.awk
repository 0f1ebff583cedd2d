# Turns a UCI file into assignments of shell variables: CONFIG_SECTIONS, CONFIG_section_TYPE, CONFIG_section_option.
function quoted(text) {
	gsub(/'/, "'\\''", text)
	return "'" text "'"
}
function word(text) {
	sub(/^[ \t]+/, "", text)
	if (substr(text, 1, 1) == "'" || substr(text, 1, 1) == "\"") {
		quote = substr(text, 1, 1)
		text = substr(text, 2)
		return substr(text, 1, index(text, quote) - 1)
	}
	sub(/[ \t#].*/, "", text)
	return text
}
function rest(text, n) {
	while (n-- > 0) sub(/^[ \t]*[^ \t]+/, "", text)
	return text
}
$1 == "config" {
	name = word(rest($0, 2))
	if (name == "") name = "cfg" ++anonymous
	section = name
	print "CONFIG_SECTIONS=\"$CONFIG_SECTIONS " section "\""
	print "CONFIG_" section "_TYPE=" quoted(word(rest($0, 1)))
}
$1 == "option" { print "CONFIG_" section "_" $2 "=" quoted(word(rest($0, 2))) }
$1 == "list" { print "append CONFIG_" section "_" $2 " " quoted(word(rest($0, 2))) }
