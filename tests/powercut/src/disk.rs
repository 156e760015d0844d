//! What a disk shows, what of that is durable, and what power loss may leave of the rest.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::support::Lots;

/// The number of the root directory.
pub(crate) const ROOT: u64 = 1;
/// What a device writes as a whole or not at all.
const SECTOR: usize = 512;
/// In how many of eight cases a change survives.
const ODDS: [u64; 5] = [0, 1, 4, 7, 8];

/// Files and directories by number. A clone is cheap: they are copied when one of the two changes.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    nodes: HashMap<u64, Node>,
    next: u64,
}

#[derive(Clone, Debug)]
enum Node {
    File(Arc<Content>),
    Dir(Arc<Names>),
}

/// What a file holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// What each sector held since the last sync, the newest last.
    sectors: BTreeMap<usize, Vec<Vec<u8>>>,
    sizes: Vec<usize>,
}

/// What a directory holds.
#[derive(Clone, Debug, Default)]
struct Names {
    now: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    changes: Vec<Change>,
}

/// A change of names that happens as a whole or not at all.
#[derive(Clone, Debug)]
enum Change {
    Put { name: String, node: u64 },
    Remove { name: String },
    Move { from: String, to: String, node: u64 },
}

/// What survives of all that was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Luck {
    /// Nothing: a disk that writes when it is asked to, and not before.
    Nothing,
    /// Everything in its newest version.
    Everything,
    /// Each sector in any version and each change of a name on its own. How much of it is drawn for
    /// each file and each directory.
    Mixed,
}

/// The files of a directory after a power cut. None if the directory itself is gone.
pub(crate) type Image = Option<BTreeMap<String, Vec<u8>>>;

impl Disk {
    pub(crate) fn new() -> Disk {
        let root = Node::Dir(Arc::default());
        Disk { nodes: HashMap::from([(ROOT, root)]), next: ROOT + 1 }
    }

    /// A disk with the directory `name` in its root, all of it durable.
    pub(crate) fn holding(name: &str, image: &Image) -> Disk {
        let mut disk = Disk::new();
        let Some(files) = image else { return disk };
        let dir = disk.create(ROOT, name, true).expect("the root is a directory");
        for (name, bytes) in files {
            let file = disk.create(dir, name, false).expect("this is a directory");
            disk.write(file, 0, bytes);
            disk.sync(file);
        }
        disk.sync(dir);
        disk.sync(ROOT);
        disk
    }

    /// The file or directory of that name.
    pub(crate) fn lookup(&self, dir: u64, name: &str) -> Option<u64> {
        self.names(dir)?.now.get(name).copied()
    }

    /// All names in a directory.
    pub(crate) fn list(&self, dir: u64) -> Option<Vec<(String, u64)>> {
        Some(self.names(dir)?.now.iter().map(|(name, node)| (name.clone(), *node)).collect())
    }

    /// The bytes that a file shows. None for a directory.
    pub(crate) fn bytes(&self, node: u64) -> Option<&[u8]> {
        Some(&self.content(node)?.now)
    }

    /// Whether there is a directory of that number.
    pub(crate) fn is_dir(&self, node: u64) -> bool {
        self.names(node).is_some()
    }

    /// Creates an empty file or directory.
    pub(crate) fn create(&mut self, dir: u64, name: &str, is_dir: bool) -> Option<u64> {
        let node = self.next;
        self.change(dir, Change::Put { name: name.into(), node })?;
        self.next += 1;
        let new = if is_dir { Node::Dir(Arc::default()) } else { Node::File(Arc::default()) };
        self.nodes.insert(node, new);
        Some(node)
    }

    pub(crate) fn remove(&mut self, dir: u64, name: &str) -> Option<()> {
        self.lookup(dir, name)?;
        self.change(dir, Change::Remove { name: name.into() })
    }

    pub(crate) fn rename(&mut self, dir: u64, from: &str, to: &str) -> Option<()> {
        let node = self.lookup(dir, from)?;
        self.change(dir, Change::Move { from: from.into(), to: to.into(), node })
    }

    pub(crate) fn write(&mut self, node: u64, position: usize, bytes: &[u8]) -> Option<()> {
        self.content_mut(node)?.write(position, bytes);
        Some(())
    }

    pub(crate) fn resize(&mut self, node: u64, size: usize) -> Option<()> {
        let content = self.content_mut(node)?;
        if size < content.now.len() {
            // What was cut off is not there again when the file grows.
            let zeros = vec![0; content.now.len() - size];
            content.write(size, &zeros);
        }
        content.set_size(size);
        Some(())
    }

    /// Makes durable what a file or a directory shows.
    pub(crate) fn sync(&mut self, node: u64) -> Option<()> {
        match self.nodes.get_mut(&node)? {
            Node::File(content) => Arc::make_mut(content).sync(),
            Node::Dir(names) => {
                let names = Arc::make_mut(names);
                names.durable = names.now.clone();
                names.changes.clear();
            }
        }
        Some(())
    }

    /// What power loss at this moment may leave of directories in the root.
    pub(crate) fn power_cut<const N: usize>(
        &self,
        names: [&str; N],
        luck: Luck,
        lots: &mut Lots,
    ) -> [Image; N] {
        let root = self.names(ROOT).map(|root| root.survivors(luck, lots)).unwrap_or_default();
        names.map(|name| {
            let dir = self.names(*root.get(name)?)?;
            let files = dir.survivors(luck, lots).into_iter().filter_map(|(name, node)| {
                let content = self.content(node)?;
                Some((name, content.survivors(luck, lots)))
            });
            Some(files.collect())
        })
    }

    fn change(&mut self, dir: u64, change: Change) -> Option<()> {
        let Node::Dir(names) = self.nodes.get_mut(&dir)? else { return None };
        let names = Arc::make_mut(names);
        change.apply(&mut names.now);
        names.changes.push(change);
        Some(())
    }

    fn names(&self, node: u64) -> Option<&Names> {
        match self.nodes.get(&node)? {
            Node::Dir(names) => Some(names),
            Node::File(_) => None,
        }
    }

    fn content(&self, node: u64) -> Option<&Content> {
        match self.nodes.get(&node)? {
            Node::File(content) => Some(content),
            Node::Dir(_) => None,
        }
    }

    fn content_mut(&mut self, node: u64) -> Option<&mut Content> {
        match self.nodes.get_mut(&node)? {
            Node::File(content) => Some(Arc::make_mut(content)),
            Node::Dir(_) => None,
        }
    }
}

impl Content {
    fn write(&mut self, position: usize, bytes: &[u8]) {
        let end = position + bytes.len();
        if bytes.is_empty() {
            return;
        }
        if end > self.now.len() {
            self.set_size(end);
        }
        let first = position / SECTOR;
        for sector in first..end.div_ceil(SECTOR) {
            let start = (sector * SECTOR).max(position);
            let piece = &bytes[start - position..((sector + 1) * SECTOR).min(end) - position];
            let shown = &mut self.now[start..start + piece.len()];
            if shown == piece {
                continue;
            }
            shown.copy_from_slice(piece);
            let mut whole = self.now[sector * SECTOR..].to_vec();
            whole.truncate(SECTOR);
            self.sectors.entry(sector).or_default().push(whole);
        }
    }

    fn set_size(&mut self, size: usize) {
        if size != self.now.len() {
            self.now.resize(size, 0);
            self.sizes.push(size);
        }
    }

    fn sync(&mut self) {
        self.durable.clone_from(&self.now);
        self.sectors.clear();
        self.sizes.clear();
    }

    fn survivors(&self, luck: Luck, lots: &mut Lots) -> Vec<u8> {
        let odds = luck.odds(lots);
        let size = odds.pick(&self.sizes, lots).copied().unwrap_or(self.durable.len());
        let mut bytes = self.durable.clone();
        bytes.resize(size, 0);
        for (sector, versions) in &self.sectors {
            let start = (sector * SECTOR).min(size);
            if let Some(version) = odds.pick(versions, lots) {
                let len = version.len().min(size - start);
                bytes[start..start + len].copy_from_slice(&version[..len]);
            }
        }
        bytes
    }
}

impl Names {
    fn survivors(&self, luck: Luck, lots: &mut Lots) -> BTreeMap<String, u64> {
        let odds = luck.odds(lots);
        let mut names = self.durable.clone();
        for change in &self.changes {
            if odds.draw(lots) {
                change.apply(&mut names);
            }
        }
        names
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Change::Put { name, node } => {
                names.insert(name.clone(), *node);
            }
            Change::Remove { name } => {
                names.remove(name);
            }
            Change::Move { from, to, node } => {
                // Without the change that gave it, the old name is not there or means another file.
                if names.get(from) == Some(node) {
                    names.remove(from);
                }
                names.insert(to.clone(), *node);
            }
        }
    }
}

/// In how many of eight cases a change of one file or directory survives.
#[derive(Clone, Copy, Debug)]
struct Odds(u64);

impl Luck {
    fn odds(self, lots: &mut Lots) -> Odds {
        Odds(match self {
            Luck::Nothing => 0,
            Luck::Everything => 8,
            Luck::Mixed => ODDS[lots.below(ODDS.len() as u64) as usize],
        })
    }
}

impl Odds {
    fn draw(self, lots: &mut Lots) -> bool {
        lots.below(8) < self.0
    }

    /// One of the versions, or none of them. With the best odds it is the newest.
    fn pick<'a, T>(self, versions: &'a [T], lots: &mut Lots) -> Option<&'a T> {
        if versions.is_empty() || !self.draw(lots) {
            return None;
        }
        match self.0 {
            8 => versions.last(),
            _ => versions.get(lots.below(versions.len() as u64) as usize),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with a durable directory `d` and a durable file `f` of two sectors of ones in it.
    fn disk() -> (Disk, u64, u64) {
        let files = BTreeMap::from([("f".to_owned(), vec![1; 2 * SECTOR])]);
        let disk = Disk::holding("d", &Some(files));
        let dir = disk.lookup(ROOT, "d").unwrap();
        let file = disk.lookup(dir, "f").unwrap();
        (disk, dir, file)
    }

    /// All that a cut may leave, as far as a thousand lots show it.
    fn outcomes(disk: &Disk) -> Vec<Image> {
        let mut lots = Lots(0);
        let mut images: Vec<Image> =
            (0..1000).flat_map(|_| disk.power_cut(["d"], Luck::Mixed, &mut lots)).collect();
        images.sort();
        images.dedup();
        images
    }

    #[test]
    fn a_sector_survives_in_any_version_until_it_is_synced() {
        let (mut disk, _, file) = disk();
        disk.write(file, SECTOR - 1, &[2, 2]);
        disk.write(file, SECTOR, &[3]);
        assert_eq!(disk.bytes(file).unwrap()[SECTOR - 1..=SECTOR], [2, 3]);
        let ends = |image: &Image| {
            let bytes = &image.as_ref().unwrap()["f"];
            [bytes[SECTOR - 1], bytes[SECTOR]]
        };
        let found: Vec<_> = outcomes(&disk).iter().map(ends).collect();
        assert_eq!(found, [[1, 1], [1, 2], [1, 3], [2, 1], [2, 2], [2, 3]]);
        let mut lots = Lots(0);
        assert_eq!(ends(&disk.power_cut(["d"], Luck::Nothing, &mut lots)[0]), [1, 1]);
        assert_eq!(ends(&disk.power_cut(["d"], Luck::Everything, &mut lots)[0]), [2, 3]);
        let before = disk.clone();
        disk.sync(file);
        assert_eq!(outcomes(&disk).iter().map(ends).collect::<Vec<_>>(), [[2, 3]]);
        assert_eq!(outcomes(&before).len(), 6, "a clone is a moment of its own");
    }

    #[test]
    fn a_size_is_as_unsafe_as_the_bytes() {
        let (mut disk, _, file) = disk();
        disk.resize(file, SECTOR);
        disk.write(file, SECTOR, &[7]);
        let mut found: Vec<_> = outcomes(&disk)
            .into_iter()
            .map(|image| image.unwrap()["f"].clone())
            .map(|bytes| (bytes.len(), bytes.get(SECTOR).copied()))
            .collect();
        found.sort();
        found.dedup();
        assert!(found.contains(&(SECTOR, None)) && found.contains(&(2 * SECTOR, Some(1))));
        assert!(found.contains(&(SECTOR + 1, Some(1))) && found.contains(&(SECTOR + 1, Some(7))));
        assert!(found.contains(&(2 * SECTOR, Some(0))), "{found:?}");
    }

    #[test]
    fn names_survive_one_by_one_and_a_rename_as_a_whole() {
        let (mut disk, dir, _) = disk();
        let new = disk.create(dir, "new.tmp", false).unwrap();
        disk.write(new, 0, b"x");
        disk.sync(new);
        disk.rename(dir, "new.tmp", "new");
        disk.remove(dir, "f");
        let names: Vec<String> = outcomes(&disk)
            .iter()
            .map(|image| image.as_ref().unwrap().keys().cloned().collect::<Vec<_>>().join(" "))
            .collect();
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["", "f", "f new", "f new.tmp", "new", "new.tmp"]);
        disk.sync(dir);
        assert_eq!(outcomes(&disk).len(), 1);
        assert_eq!(disk.list(dir).unwrap().len(), 1);
    }

    #[test]
    fn a_directory_without_a_durable_name_is_gone() {
        let mut disk = Disk::new();
        let dir = disk.create(ROOT, "d", true).unwrap();
        let file = disk.create(dir, "f", false).unwrap();
        disk.sync(file);
        disk.sync(dir);
        let mut lots = Lots(0);
        assert_eq!(disk.power_cut(["d"], Luck::Nothing, &mut lots), [None]);
        disk.sync(ROOT);
        let [image] = disk.power_cut(["d"], Luck::Nothing, &mut lots);
        assert_eq!(image, Some(BTreeMap::from([("f".to_owned(), Vec::new())])));
    }
}
