//! The paged KV cache: a pool of fixed-size blocks with reference counts, and the prefix cache on top of it.
//!
//! A block without holders can still be found by its content hash until it is reallocated, oldest first; it
//! counts as free meanwhile. So the usage gauge falls when a request ends although its prefix can still be
//! hit.

use std::collections::HashMap;

/// Index of a block in the pool.
pub(crate) type BlockId = u32;

const NIL: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Block {
    holders: u32,
    hash: Option<u64>,
    // Links of the free list; meaningful only while `holders` is 0.
    prev: u32,
    next: u32,
}

/// All blocks of one engine.
#[derive(Debug)]
pub(crate) struct BlockPool {
    blocks: Vec<Block>,
    cached: HashMap<u64, BlockId>,
    head: u32,
    tail: u32,
    free: usize,
}

impl BlockPool {
    /// A pool of `count` free blocks.
    pub(crate) fn new(count: usize) -> Self {
        let mut pool = Self {
            blocks: vec![
                Block {
                    holders: 0,
                    hash: None,
                    prev: NIL,
                    next: NIL
                };
                count
            ],
            cached: HashMap::new(),
            head: NIL,
            tail: NIL,
            free: 0,
        };
        for id in 0..count as u32 {
            pool.push_free(id);
        }
        pool
    }

    /// Blocks without holders, cached ones included.
    pub(crate) fn free(&self) -> usize {
        self.free
    }

    /// Share of blocks that are held, 0 to 1.
    pub(crate) fn usage(&self) -> f64 {
        if self.blocks.is_empty() {
            0.0
        } else {
            1.0 - self.free as f64 / self.blocks.len() as f64
        }
    }

    /// The block with this content, if it is still cached. Does not take a reference.
    pub(crate) fn find(&self, hash: u64) -> Option<BlockId> {
        self.cached.get(&hash).copied()
    }

    /// True if the block is free, so that holding it shrinks the pool.
    pub(crate) fn is_free(&self, id: BlockId) -> bool {
        self.blocks[id as usize].holders == 0
    }

    /// Takes a reference to a found block.
    pub(crate) fn hold(&mut self, id: BlockId) {
        if self.blocks[id as usize].holders == 0 {
            self.unlink(id);
        }
        self.blocks[id as usize].holders += 1;
    }

    /// Allocates the block that was free for longest, and forgets its cached content.
    pub(crate) fn take(&mut self) -> Option<BlockId> {
        let id = self.head;
        if id == NIL {
            return None;
        }
        self.unlink(id);
        if let Some(hash) = self.blocks[id as usize].hash.take() {
            self.cached.remove(&hash);
        }
        self.blocks[id as usize].holders = 1;
        Some(id)
    }

    /// Releases the blocks of one request, last first, so that the head of a prefix is evicted last.
    pub(crate) fn release(&mut self, ids: &mut Vec<BlockId>) {
        for id in ids.drain(..).rev() {
            let block = &mut self.blocks[id as usize];
            debug_assert!(block.holders > 0, "block {id} released twice");
            block.holders -= 1;
            if block.holders == 0 {
                self.push_free(id);
            }
        }
    }

    /// Registers a full block by its content. A second block of the same content stays unregistered.
    pub(crate) fn remember(&mut self, id: BlockId, hash: u64) {
        if self.blocks[id as usize].hash.is_none() && !self.cached.contains_key(&hash) {
            self.blocks[id as usize].hash = Some(hash);
            self.cached.insert(hash, id);
        }
    }

    /// Forgets every cached prefix. Fails while any block is held, as in vLLM.
    pub(crate) fn reset_cache(&mut self) -> bool {
        if self.free != self.blocks.len() {
            return false;
        }
        self.cached.clear();
        for block in &mut self.blocks {
            block.hash = None;
        }
        true
    }

    fn push_free(&mut self, id: BlockId) {
        let tail = self.tail;
        let block = &mut self.blocks[id as usize];
        block.prev = tail;
        block.next = NIL;
        if tail == NIL {
            self.head = id;
        } else {
            self.blocks[tail as usize].next = id;
        }
        self.tail = id;
        self.free += 1;
    }

    fn unlink(&mut self, id: BlockId) {
        let Block { prev, next, .. } = self.blocks[id as usize];
        if prev == NIL {
            self.head = next;
        } else {
            self.blocks[prev as usize].next = next;
        }
        if next == NIL {
            self.tail = prev;
        } else {
            self.blocks[next as usize].prev = prev;
        }
        self.free -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_back_and_the_oldest_is_reused_first() {
        let mut pool = BlockPool::new(3);
        let mut held: Vec<_> = (0..3).map(|_| pool.take().unwrap()).collect();
        assert_eq!(pool.take(), None);
        assert!((pool.usage() - 1.0).abs() < 1e-12);
        pool.release(&mut held);
        assert_eq!(pool.free(), 3);
        // Released last first: block 2 has been free for longest.
        assert_eq!(pool.take(), Some(2));
    }

    #[test]
    fn a_cached_block_is_found_until_it_is_handed_out_again() {
        let mut pool = BlockPool::new(2);
        let id = pool.take().unwrap();
        pool.remember(id, 42);
        pool.release(&mut vec![id]);
        assert_eq!(pool.free(), 2);
        assert_eq!(pool.find(42), Some(id));
        pool.hold(id);
        assert_eq!(pool.free(), 1);
        pool.release(&mut vec![id]);
        pool.take().unwrap();
        pool.take().unwrap();
        assert_eq!(pool.find(42), None);
    }

    #[test]
    fn reset_is_refused_while_a_block_is_held() {
        let mut pool = BlockPool::new(2);
        let id = pool.take().unwrap();
        pool.remember(id, 1);
        assert!(!pool.reset_cache());
        pool.release(&mut vec![id]);
        assert!(pool.reset_cache());
        assert_eq!(pool.find(1), None);
    }
}
