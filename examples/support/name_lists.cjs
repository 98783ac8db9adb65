// node name_lists.cjs lists: people, places, groups and titles of Wikipedia out of npm compromise
// 14.17.0 and compromise-wikipedia 0.1.1, as files for label_entities' --lists.
const fs = require('fs')
const path = require('path')
const nlp = require('compromise')

let titles = []
const trie = nlp.buildTrie
nlp.buildTrie = (list) => {
  titles = list
  return trie.call(nlp, list)
}
nlp.plugin(require('compromise-wikipedia'))

const kinds = {
  people: ['MaleName', 'FemaleName', 'FirstName', 'LastName', 'Person'],
  places: ['City', 'Country', 'Region', 'Place'],
  groups: ['Organization', 'SportsTeam'],
}
const write = (name, lines) =>
  fs.writeFileSync(path.join(process.argv[2], name + '.txt'), lines.join('\n') + '\n')
for (const [name, tags] of Object.entries(kinds)) {
  const words = Object.entries(nlp.model().one.lexicon)
  write(name, words.filter(([, of]) => [].concat(of).some((t) => tags.includes(t))).map(([w]) => w))
}
write('titles', titles)
