//! What is best, found out without the code under test: by trying everything, or by looking for a
//! way to improve what is there.

use super::*;

/// Who may have each partition and who owns it, by the numbers of the members.
#[derive(Debug)]
pub(crate) struct Problem {
    names: Vec<TopicPartition>,
    eligible: Vec<Vec<usize>>,
    owners: Vec<Option<usize>>,
    members: Vec<String>,
}

/// How good an assignment is: the less, the better. Balance counts first: the sum of the squares of
/// what the members have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Quality {
    pub(crate) squares: usize,
    pub(crate) moved: usize,
}

impl Problem {
    pub(crate) fn new(members: &[Member], topics: &Topics) -> Problem {
        let mut problem = Problem {
            names: Vec::new(),
            eligible: Vec::new(),
            owners: Vec::new(),
            members: members.iter().map(|member| member.id.clone()).collect(),
        };
        for (topic, &count) in topics {
            let reads = |&i: &usize| members[i].topics.contains(topic);
            let eligible: Vec<usize> = (0..members.len()).filter(reads).collect();
            for partition in (0..count).filter(|_| !eligible.is_empty()) {
                let name = TopicPartition::new(topic, partition);
                problem.owners.push(owner(members, &name).filter(|i| eligible.contains(i)));
                problem.eligible.push(eligible.clone());
                problem.names.push(name);
            }
        }
        problem
    }

    fn quality(&self, takers: &[usize]) -> Quality {
        let loads = self.loads(takers);
        let moved = takers.iter().zip(&self.owners).filter(|&(&m, &owner)| Some(m) != owner);
        Quality { squares: loads.iter().map(|load| load * load).sum(), moved: moved.count() }
    }

    fn loads(&self, takers: &[usize]) -> Vec<usize> {
        let mut loads = vec![0; self.members.len()];
        takers.iter().for_each(|&member| loads[member] += 1);
        loads
    }

    /// Who gets each partition. Fails unless each goes to exactly one member that subscribes to it.
    pub(crate) fn takers(&self, assignment: &GroupAssignment) -> Vec<usize> {
        let mut takers = vec![None; self.names.len()];
        for (id, partitions) in assignment.iter() {
            let member = self.members.iter().position(|member| member == id).unwrap();
            for name in partitions {
                let at = self.names.binary_search(name).expect("somebody reads this partition");
                assert!(self.eligible[at].contains(&member), "{id} did not ask for {name}");
                assert_eq!(takers[at].replace(member), None, "{name} is there twice");
            }
        }
        for name in assignment.withheld() {
            let at = self.names.binary_search(name).unwrap();
            assert_eq!(takers[at], None, "{name} is withheld and assigned");
        }
        let taker = |(at, taker): (usize, Option<usize>)| {
            taker.unwrap_or_else(|| panic!("nobody has {}", self.names[at]))
        };
        takers.into_iter().enumerate().map(taker).collect()
    }

    pub(crate) fn quality_of(&self, assignment: &GroupAssignment) -> Quality {
        self.quality(&self.takers(assignment))
    }

    /// The best quality of all assignments that there are.
    pub(crate) fn best_of_all(&self) -> Quality {
        let mut choice = vec![0; self.names.len()];
        let mut best = None;
        loop {
            let takers: Vec<usize> =
                choice.iter().zip(&self.eligible).map(|(&i, eligible)| eligible[i]).collect();
            let quality = self.quality(&takers);
            best = Some(best.map_or(quality, |best: Quality| best.min(quality)));
            let next = (0..choice.len()).find(|&at| choice[at] + 1 < self.eligible[at].len());
            let Some(next) = next else { break };
            choice[next] += 1;
            choice[..next].fill(0);
        }
        best.unwrap()
    }

    /// A way to improve an assignment, if there is any: partitions that change hands one after the
    /// other, so that it becomes more even, or moves fewer of them and stays as even as it is.
    ///
    /// The difference between an assignment and a better one consists of chains and rings of such
    /// changes, so at least one of them improves it, too. The shortest chains between all pairs of
    /// members are those of Floyd and Warshall.
    pub(crate) fn improvement(&self, assignment: &GroupAssignment) -> Option<String> {
        let takers = self.takers(assignment);
        let count = self.members.len();
        let mut cost: Vec<Vec<Option<isize>>> = vec![vec![None; count]; count];
        for (at, &from) in takers.iter().enumerate() {
            for &to in self.eligible[at].iter().filter(|&&to| to != from) {
                let owned_by = |member| isize::from(self.owners[at] == Some(member));
                let change = owned_by(from) - owned_by(to);
                cost[from][to] = Some(cost[from][to].map_or(change, |least| least.min(change)));
            }
        }
        for via in 0..count {
            for from in 0..count {
                for to in 0..count {
                    if let (Some(a), Some(b)) = (cost[from][via], cost[via][to]) {
                        let least = cost[from][to].unwrap_or(isize::MAX);
                        cost[from][to] = Some(least.min(a + b));
                    }
                }
            }
        }
        let loads = self.loads(&takers);
        let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
        pairs
            .filter_map(|(from, to)| cost[from][to].map(|change| (from, to, change)))
            .find(|&(from, to, change)| {
                let cheaper = change < 0 && (from == to || loads[from] == loads[to] + 1);
                loads[from] >= loads[to] + 2 || cheaper
            })
            .map(|(from, to, change)| format!("{from} to {to} for {change}, loads {loads:?}"))
    }
}

/// The owner by the rules: the one who claims it in the newest generation, if that is one.
fn owner(members: &[Member], name: &TopicPartition) -> Option<usize> {
    let claimants = |&i: &usize| members[i].owned.contains(name);
    let claimants: Vec<usize> = (0..members.len()).filter(claimants).collect();
    let newest = claimants.iter().map(|&i| members[i].generation).max()?;
    let mut newest = claimants.into_iter().filter(|&i| members[i].generation == newest);
    newest.next().filter(|_| newest.next().is_none())
}

/// The fewest moves if all subscribe to the same topics: how many partitions have to leave their
/// owners follows from how many each owns.
pub(crate) fn fewest_moves_of_equals(members: &[Member], partitions: usize) -> usize {
    let share = partitions / members.len();
    let with_one_more = partitions % members.len();
    let keep = |member: &Member| member.owned.len().min(share);
    let kept: usize = members.iter().map(keep).sum();
    let could_keep_one_more = members.iter().filter(|member| member.owned.len() > share).count();
    partitions - kept - could_keep_one_more.min(with_one_more)
}
