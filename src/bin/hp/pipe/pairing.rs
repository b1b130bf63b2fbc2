//! Who of those with the same ID becomes the other end: two agree, and tell the others that they come too late.
//!
//! In each pair the one with the smaller name offers and the other accepts. An end has one offer open at a time and answers none
//! meanwhile. So those who wait for an answer wait for larger names only, the largest never waits, and nobody takes two.

use std::collections::VecDeque;

use holepunch::PeerId;

use super::frame::Frame;

/// The search for the other end.
#[derive(Debug)]
pub struct Pairing {
    local: PeerId,
    /// Pipes that have not refused us, in the order in which they came.
    pipes: Vec<PeerId>,
    /// Who has our offer.
    offered: Option<PeerId>,
    /// Whose offers wait until ours is answered.
    held: VecDeque<PeerId>,
    partner: Option<PeerId>,
    refused: bool,
    /// What is to be said.
    out: VecDeque<(PeerId, Frame<'static>)>,
}

impl Pairing {
    /// Nobody is there yet.
    pub fn new(local: PeerId) -> Self {
        Self {
            local,
            pipes: Vec::new(),
            offered: None,
            held: VecDeque::new(),
            partner: None,
            refused: false,
            out: VecDeque::new(),
        }
    }

    /// The other end.
    pub fn partner(&self) -> Option<PeerId> {
        self.partner
    }

    /// Whether all who are there have another.
    pub fn is_refused(&self) -> bool {
        self.partner.is_none() && self.refused && self.pipes.is_empty()
    }

    /// What is to be said next.
    pub fn poll_frame(&mut self) -> Option<(PeerId, Frame<'static>)> {
        self.out.pop_front()
    }

    /// Somebody can be talked to.
    pub fn handle_connected(&mut self, who: PeerId) {
        if self.partner.is_none() {
            self.out.push_back((who, Frame::Hello(super::frame::VERSION)));
        }
    }

    /// Somebody, who is not the other end, has said something.
    pub fn handle_frame(&mut self, from: PeerId, frame: Frame<'_>) {
        match frame {
            Frame::Hello(_) | Frame::Offer if self.partner.is_some() => {
                self.out.push_back((from, Frame::Refuse));
            }
            Frame::Hello(_) if !self.pipes.contains(&from) => {
                self.pipes.push(from);
                self.offer_or_accept();
            }
            Frame::Offer if self.pipes.contains(&from) => {
                self.held.push_back(from);
                self.offer_or_accept();
            }
            Frame::Accept if self.offered == Some(from) => self.take(from),
            Frame::Refuse => {
                self.refused = true;
                self.handle_gone(from);
            }
            // Somebody's who is no pipe.
            _ => {}
        }
    }

    /// Somebody will not be the other end.
    pub fn handle_gone(&mut self, who: PeerId) {
        self.pipes.retain(|pipe| *pipe != who);
        self.held.retain(|held| *held != who);
        self.offered.take_if(|offered| *offered == who);
        self.offer_or_accept();
    }

    fn offer_or_accept(&mut self) {
        if self.partner.is_some() || self.offered.is_some() {
            return;
        }
        if let Some(from) = self.held.pop_front() {
            self.out.push_back((from, Frame::Accept));
            self.take(from);
        } else if let Some(&to) = self.pipes.iter().find(|pipe| **pipe > self.local) {
            self.offered = Some(to);
            self.out.push_back((to, Frame::Offer));
        }
    }

    fn take(&mut self, partner: PeerId) {
        self.partner = Some(partner);
        let others = self.pipes.iter().filter(|pipe| **pipe != partner);
        self.out.extend(others.map(|other| (*other, Frame::Refuse)));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Messages between all, each pair's in order, delivered in an order that `choose` makes.
    fn run(count: u8, choose: &mut dyn FnMut(usize) -> usize) -> Vec<Pairing> {
        let mut ends: Vec<_> = (0..count).map(|name| Pairing::new(PeerId([name; 16]))).collect();
        let mut queues: BTreeMap<(u8, u8), VecDeque<Option<Vec<u8>>>> = BTreeMap::new();
        let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
        for pair in pairs.filter(|(from, to)| from != to) {
            // First of all, `to` sees that it is connected.
            queues.insert(pair, [None].into());
        }
        loop {
            let full: Vec<_> =
                queues.iter().filter(|(_, queue)| !queue.is_empty()).map(|(pair, _)| *pair).collect();
            let Some(&(from, to)) = full.get(choose(full.len().max(1))) else { return ends };
            let message = queues.get_mut(&(from, to)).and_then(VecDeque::pop_front).flatten();
            let (end, from) = (&mut ends[usize::from(to)], PeerId([from; 16]));
            match &message {
                None => end.handle_connected(from),
                Some(message) if end.partner() != Some(from) => {
                    end.handle_frame(from, Frame::read(message).unwrap());
                }
                Some(_) => {}
            }
            while let Some((whom, frame)) = end.poll_frame() {
                queues.get_mut(&(to, whom.0[0])).unwrap().push_back(Some(frame.encode()));
            }
        }
    }

    #[test]
    fn two_find_each_other_and_others_are_refused_whatever_comes_first() {
        for seed in 0..2000_u64 {
            let mut state = seed;
            let mut choose = |count: usize| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as usize % count
            };
            for count in 2..6 {
                let ends = run(count, &mut choose);
                for end in &ends {
                    let partner = end.partner().map(|partner| &ends[usize::from(partner.0[0])]);
                    assert!(
                        partner.is_none_or(|it| it.partner() == Some(end.local)),
                        "seed {seed}: {ends:?}"
                    );
                    assert_ne!(end.partner().is_some(), end.is_refused(), "seed {seed}: {ends:?}");
                }
                assert!(ends.iter().any(|end| end.partner().is_some()), "seed {seed}: {ends:?}");
            }
        }
    }

    #[test]
    fn who_goes_away_with_our_offer_makes_room_for_another() {
        let [a, b, c] = [1, 2, 3].map(|name| PeerId([name; 16]));
        let mut end = Pairing::new(b);
        let out = |end: &mut Pairing| std::iter::from_fn(|| end.poll_frame()).collect::<Vec<_>>();
        end.handle_frame(c, Frame::Hello(1));
        end.handle_frame(a, Frame::Hello(1));
        end.handle_frame(a, Frame::Offer);
        assert_eq!(out(&mut end), [(c, Frame::Offer)]);
        end.handle_gone(c);
        assert_eq!(out(&mut end), [(a, Frame::Accept)]);
        assert_eq!(end.partner(), Some(a));
        end.handle_frame(c, Frame::Hello(1));
        assert_eq!(out(&mut end), [(c, Frame::Refuse)]);
    }

    #[test]
    fn who_is_no_pipe_is_not_talked_to() {
        let mut end = Pairing::new(PeerId([1; 16]));
        for frame in [Frame::Offer, Frame::Accept, Frame::End] {
            end.handle_frame(PeerId([2; 16]), frame);
        }
        assert_eq!((end.poll_frame(), end.partner()), (None, None));
    }
}
