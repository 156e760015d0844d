//! The most even sharing of partitions that moves the fewest of them: a flow of least cost.
//!
//! Partitions flow from *classes* to members. A class has all partitions with the same subscribers; an
//! arc leads from it to each of them and knows how many of its partitions that member owns. Up to that
//! number a unit of flow costs nothing, beyond it one: a partition that somebody new has to take over.
//!
//! The members of a part of the group get `share` partitions each, the mean rounded down, and then
//! some of them one more. Flow begins as it is owned; what a member or a class has too much goes along
//! the shortest ways to members with room (successive shortest paths, with potentials, many ways at a
//! time as in Dinic's algorithm). If all of it finds room, that part is done: no member has two more
//! than another, and no cheaper flow does the same.
//!
//! If not, the nodes that are in reach of what is left over are a part of their own. Nothing in it can
//! be read by anybody outside, and its members have more than all others whatever is done, so that no
//! balanced assignment moves anything across. Both parts are then shared anew, each with its own mean
//! (the decomposition of Fujishige, which ends at the canonical partition of Frank and Murota).

/// The level of a node that a search has not reached.
const UNREACHED: usize = usize::MAX;

/// What a member may have of a class.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arc {
    pub(super) class: usize,
    pub(super) member: usize,
    /// How many partitions of the class the member owns.
    pub(super) owned: usize,
    /// How many it gets.
    pub(super) flow: usize,
}

/// Decides how many partitions of each class each member gets: sets the flow of the arcs.
///
/// Each class has `supply` partitions, at least one, and at least one arc leads from it.
pub(super) fn balance(supply: &[usize], members: usize, arcs: &mut [Arc]) {
    let mut network = Network::new(supply, members, arcs);
    let mut parts = vec![(0..supply.len() + members).collect::<Vec<usize>>()];
    while let Some(part) = parts.pop() {
        if !network.settle(&part) {
            parts.extend(network.split(part));
        }
    }
}

/// The nodes are numbered: first the classes, then the members.
struct Network<'a> {
    supply: &'a [usize],
    arcs: &'a mut [Arc],
    /// The arcs of each node that stay within its part.
    arcs_of: Vec<Vec<usize>>,
    /// What a node has too much.
    excess: Vec<usize>,
    /// How many partitions a member may still get.
    room: Vec<usize>,
    /// The sums of both over the part.
    total_excess: usize,
    total_room: usize,
    /// The length of the shortest way to a node, as far as it matters yet. No step is shorter than the
    /// difference of its ends.
    potential: Vec<isize>,
    /// The length of the shortest way to a member with room.
    goal: isize,
    /// The number of steps to a node in the last search.
    level: Vec<usize>,
    /// The first of the node's arcs that may still lead on.
    next: Vec<usize>,
}

/// A step along an arc, or back along it.
struct Step {
    arc: usize,
    to: usize,
    /// What it costs beyond the difference of the potentials.
    detour: isize,
    capacity: usize,
}

/// What a search has found.
enum Found {
    /// Ways to members with room, no longer than those before.
    Room,
    /// None, but there may be some that are longer by this much.
    Detour(isize),
    /// None, and there will be none: no step leads out of what was reached.
    Nothing,
}

impl<'a> Network<'a> {
    fn new(supply: &'a [usize], members: usize, arcs: &'a mut [Arc]) -> Network<'a> {
        let nodes = supply.len() + members;
        let mut arcs_of = vec![Vec::new(); nodes];
        for (i, arc) in arcs.iter().enumerate() {
            arcs_of[arc.class].push(i);
            arcs_of[supply.len() + arc.member].push(i);
        }
        Network {
            supply,
            arcs,
            arcs_of,
            excess: vec![0; nodes],
            room: vec![0; nodes],
            total_excess: 0,
            total_room: 0,
            potential: vec![0; nodes],
            goal: 0,
            level: vec![UNREACHED; nodes],
            next: vec![0; nodes],
        }
    }

    fn is_member(&self, node: usize) -> bool {
        node >= self.supply.len()
    }

    /// Shares the partitions of a part among its members, within one of each other. Returns false if
    /// that is impossible; the last search then says where.
    fn settle(&mut self, part: &[usize]) -> bool {
        self.begin(part);
        let members = part.iter().filter(|&&node| self.is_member(node)).count();
        let Some(share) = self.total_excess.checked_div(members) else { return true };
        // All get the share before anybody gets one more, or some would be left with less.
        self.ship(part, share) && self.ship(part, 1)
    }

    /// Leaves everything with its owner, which costs nothing, and what has none with its class.
    fn begin(&mut self, part: &[usize]) {
        self.total_excess = 0;
        for &node in part {
            self.potential[node] = 0;
            self.excess[node] = 0;
        }
        for &class in part.iter().filter(|&&node| node < self.supply.len()) {
            self.total_excess += self.supply[class];
            self.excess[class] = self.supply[class];
            for &i in &self.arcs_of[class] {
                let arc = &mut self.arcs[i];
                arc.flow = arc.owned;
                self.excess[class] -= arc.owned;
                self.excess[self.supply.len() + arc.member] += arc.owned;
            }
        }
    }

    /// Gives each member room for some partitions, and moves what is too much there, the cheapest
    /// first. Returns false if room is left that nothing can reach.
    fn ship(&mut self, part: &[usize], room: usize) -> bool {
        self.goal = 0;
        self.total_room = 0;
        for &node in part {
            self.room[node] = if self.is_member(node) { room } else { 0 };
            self.total_room += self.room[node];
        }
        while self.total_room > 0 && self.total_excess > 0 {
            match self.search(part) {
                Found::Room => self.augment(part),
                Found::Detour(by) => self.raise(part, by),
                Found::Nothing => return false,
            }
        }
        true
    }

    /// Looks for the nodes in reach of those with too much, without a detour.
    fn search(&mut self, part: &[usize]) -> Found {
        for &node in part {
            let is_source = self.excess[node] > 0;
            self.level[node] = if is_source { 0 } else { UNREACHED };
            self.next[node] = 0;
        }
        let mut reached: Vec<usize> =
            part.iter().copied().filter(|&node| self.level[node] == 0).collect();
        let mut at = 0;
        while let Some(&node) = reached.get(at) {
            for i in 0..self.arcs_of[node].len() {
                if let Some(step) = self.step(node, i)
                    && step.detour == 0
                    && self.level[step.to] == UNREACHED
                {
                    self.level[step.to] = self.level[node] + 1;
                    reached.push(step.to);
                }
            }
            at += 1;
        }
        if reached.iter().any(|&node| self.is_goal(node)) {
            return Found::Room;
        }
        reached
            .iter()
            .filter_map(|&node| self.way_out(node))
            .min()
            .map_or(Found::Nothing, Found::Detour)
    }

    /// The smallest detour that leads from a node to one that was not reached, or to its own room.
    fn way_out(&self, node: usize) -> Option<isize> {
        let steps = (0..self.arcs_of[node].len()).filter_map(|i| self.step(node, i));
        let out = steps.filter(|step| self.level[step.to] == UNREACHED).map(|step| step.detour);
        let room = (self.room[node] > 0).then_some(self.potential[node] - self.goal);
        out.chain(room).min()
    }

    fn is_goal(&self, node: usize) -> bool {
        self.room[node] > 0 && self.potential[node] == self.goal
    }

    /// The step from a node along one of its arcs, unless nothing can go that way.
    fn step(&self, from: usize, i: usize) -> Option<Step> {
        let i = self.arcs_of[from][i];
        let Arc { class, member, owned, flow } = self.arcs[i];
        let is_moved = flow > owned;
        let (to, cost, capacity) = if self.is_member(from) {
            // Back: what was taken over first, which costs less than nothing, then what is owned.
            (class, -isize::from(is_moved), if is_moved { flow - owned } else { flow })
        } else {
            let is_full = flow >= owned;
            let capacity = if is_full { usize::MAX } else { owned - flow };
            (self.supply.len() + member, isize::from(is_full), capacity)
        };
        let detour = cost + self.potential[from] - self.potential[to];
        (capacity > 0).then_some(Step { arc: i, to, detour, capacity })
    }

    /// Makes longer ways count: all that was not reached is further away by `by`.
    fn raise(&mut self, part: &[usize], by: isize) {
        for &node in part.iter().filter(|&&node| self.level[node] == UNREACHED) {
            self.potential[node] += by;
        }
        self.goal += by;
    }

    /// Moves as much as there is room for along the ways of the last search, from level to level.
    fn augment(&mut self, part: &[usize]) {
        let mut way: Vec<Step> = Vec::new();
        for &source in part {
            while self.excess[source] > 0 {
                let node = way.last().map_or(source, |step| step.to);
                if self.is_goal(node) {
                    self.push(source, node, &way);
                    way.clear();
                } else if let Some(step) = self.advance(node) {
                    way.push(step);
                } else {
                    // A dead end, for all who come later, too.
                    self.level[node] = UNREACHED;
                    if way.pop().is_none() {
                        break;
                    }
                }
            }
        }
    }

    /// The next step from a node towards a member with room.
    fn advance(&mut self, node: usize) -> Option<Step> {
        while self.next[node] < self.arcs_of[node].len() {
            let step = self
                .step(node, self.next[node])
                .filter(|step| step.detour == 0 && self.level[step.to] == self.level[node] + 1);
            if step.is_some() {
                return step;
            }
            self.next[node] += 1;
        }
        None
    }

    fn push(&mut self, source: usize, sink: usize, way: &[Step]) {
        let narrowest = way.iter().map(|step| step.capacity).min().unwrap_or(usize::MAX);
        let amount = narrowest.min(self.excess[source]).min(self.room[sink]);
        for step in way {
            let is_forward = self.is_member(step.to);
            let flow = &mut self.arcs[step.arc].flow;
            *flow = if is_forward { *flow + amount } else { *flow - amount };
        }
        self.excess[source] -= amount;
        self.room[sink] -= amount;
        self.total_excess -= amount;
        self.total_room -= amount;
    }

    /// Splits a part in what the last search has reached and the rest, and cuts the arcs between them.
    fn split(&mut self, part: Vec<usize>) -> [Vec<usize>; 2] {
        let (upper, lower): (Vec<usize>, Vec<usize>) =
            part.into_iter().partition(|&node| self.level[node] != UNREACHED);
        // What was reached leads nowhere else, so all arcs that cross begin at a class below. Nothing
        // flows along them, or the class would have been reached against the flow.
        let (arcs, level, classes) = (&self.arcs, &self.level, self.supply.len());
        for &class in lower.iter().filter(|&&node| node < classes) {
            self.arcs_of[class].retain(|&i| level[classes + arcs[i].member] == UNREACHED);
        }
        for &member in upper.iter().filter(|&&node| node >= classes) {
            self.arcs_of[member].retain(|&i| level[arcs[i].class] != UNREACHED);
        }
        [upper, lower]
    }
}
