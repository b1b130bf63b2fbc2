//! What a shard counts.

/// What a shard has counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardCounters {
    /// New native members.
    pub native_joined: u64,
    /// New plain members.
    pub plain_joined: u64,
    /// Members that said goodbye or were replaced.
    pub left: u64,
    /// Members that fell silent.
    pub expired: u64,
    /// Requests refused for a limit or a taken peer ID.
    pub refused: u64,
    /// Requests that named no living registration of their source.
    pub unknown: u64,
    /// Requests of clients that were no members yet, dropped because there was no time for them.
    pub shed: u64,
    /// Answers that plain clients did not get, since too little had come from there.
    pub plain_withheld: u64,
    /// Members elsewhere that there was no room to list.
    pub elsewhere_refused: u64,
    /// Pushes sent again because no acknowledgement came.
    pub pushes_repeated: u64,
    /// Pushes that had to wait for their session's turn.
    pub pushes_delayed: u64,
}

impl std::ops::AddAssign for ShardCounters {
    fn add_assign(&mut self, other: Self) {
        self.native_joined += other.native_joined;
        self.plain_joined += other.plain_joined;
        self.left += other.left;
        self.expired += other.expired;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.shed += other.shed;
        self.plain_withheld += other.plain_withheld;
        self.elsewhere_refused += other.elsewhere_refused;
        self.pushes_repeated += other.pushes_repeated;
        self.pushes_delayed += other.pushes_delayed;
    }
}
