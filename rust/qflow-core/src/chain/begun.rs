//! Which chains have begun, in memory that is bounded for a log of any length.

/// Bits of the filter for each chain, and how many of them it sets.
const BITS_A_CHAIN: u64 = 64;
const BITS_SET: u32 = 14;
const BLOCK_BITS: u64 = 512;
/// 64 KiB; each layer is twice the one before, and all together are not quite 64 MiB.
const FIRST_BLOCKS: usize = 1 << 10;
const LAYERS_MAX: usize = 10;

/// One cache line: all bits of a chain lie in it.
type Block = [u64; 8];

/// A set that forgets nothing and may err on the side of "again": a blocked Bloom filter in layers
/// (Putze, Sanders, Singler, "Cache-, hash- and space-efficient Bloom filters", 2007).
///
/// It takes 8 to 16 bytes a chain, and errs once in twenty million up to 8 million chains.
/// Beyond those it grows no more and errs more often: an answer of "again" is to be looked up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Begun {
    layers: Vec<Layer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Layer {
    blocks: Vec<Block>,
    chains: u64,
}

impl Layer {
    fn new(blocks: usize) -> Self {
        Self {
            blocks: vec![[0; 8]; blocks],
            chains: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.chains * BITS_A_CHAIN >= self.blocks.len() as u64 * BLOCK_BITS
    }

    fn block(&self, place: u64) -> usize {
        // The number of blocks is a power of two.
        place as usize & (self.blocks.len() - 1)
    }
}

impl Begun {
    /// Add a chain. False: it was not there. True: it was, or seems to be.
    pub fn insert(&mut self, chain: &[u8; 16]) -> bool {
        let (place, bits) = spread(chain);
        let there = self.layers.iter().any(|layer| {
            let block = &layer.blocks[layer.block(place)];
            block.iter().zip(&bits).all(|(is, due)| is & due == *due)
        });
        if !there {
            let layer = self.layer_with_room();
            let at = layer.block(place);
            for (word, bits) in layer.blocks[at].iter_mut().zip(bits) {
                *word |= bits;
            }
            layer.chains += 1;
        }
        there
    }

    fn layer_with_room(&mut self) -> &mut Layer {
        let count = self.layers.len();
        if count == 0 || (count < LAYERS_MAX && self.layers[count - 1].is_full()) {
            self.layers.push(Layer::new(FIRST_BLOCKS << count));
        }
        let last = self.layers.len() - 1;
        &mut self.layers[last]
    }

    /// The bytes that `from_bytes` reads.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for layer in &self.layers {
            out.extend_from_slice(&layer.chains.to_le_bytes());
            let words = layer.blocks.iter().flatten();
            out.extend(words.flat_map(|word| word.to_le_bytes()));
        }
        out
    }

    /// None when the bytes are not those of a set.
    #[must_use]
    pub fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let mut layers = Vec::new();
        while !bytes.is_empty() {
            let mut layer = Layer::new(FIRST_BLOCKS << layers.len().min(LAYERS_MAX));
            let size = 8 + layer.blocks.len() * size_of::<Block>();
            let (this, rest) = bytes.split_at_checked(size)?;
            let (words, _) = this.as_chunks::<8>();
            let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
            layer.chains = words.next()?;
            for (word, read) in layer.blocks.iter_mut().flatten().zip(words) {
                *word = read;
            }
            layers.push(layer);
            bytes = rest;
        }
        (layers.len() <= LAYERS_MAX).then_some(Self { layers })
    }
}

/// Where the bits of a chain are: the block, and the bits in it.
fn spread(chain: &[u8; 16]) -> (u64, Block) {
    let number = u128::from_le_bytes(*chain);
    let place = mix(number as u64 ^ mix((number >> 64) as u64 ^ 0x9e37_79b9_7f4a_7c15));
    let (mut source, mut bits) = (0, [0; 8]);
    for turn in 0..BITS_SET {
        if turn % 7 == 0 {
            source = mix(place.wrapping_add(u64::from(turn) + 1));
        }
        bits[(source >> 6 & 7) as usize] |= 1 << (source & 63);
        source >>= 9;
    }
    (place, bits)
}

/// The last step of SplitMix64 (Steele, Lea, Flood, 2014): every bit of the input moves half of
/// the output.
fn mix(mut z: u64) -> u64 {
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> [u8; 16] {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&number.to_be_bytes());
        id
    }

    #[test]
    fn what_is_there_is_found_and_hardly_anything_else() {
        let mut begun = Begun::default();
        let wrong = (0..1_000_000).filter(|n| begun.insert(&id(*n))).count();
        assert!(wrong <= 1, "{wrong}");
        assert!((0..1_000_000).step_by(7).all(|n| begun.insert(&id(n))));
        assert_eq!(Begun::from_bytes(&begun.to_bytes()).as_ref(), Some(&begun));
        assert!(begun.to_bytes().len() <= 16 << 20);
        assert!(Begun::from_bytes(&begun.to_bytes()[1..]).is_none());
    }

    #[test]
    fn it_grows_to_64_mib_and_no_further() {
        let mut begun = Begun::default();
        for count in 0..LAYERS_MAX + 3 {
            begun.layer_with_room();
            if let Some(layer) = begun.layers.last_mut() {
                layer.chains = u64::MAX >> 8;
            }
            assert_eq!(begun.layers.len(), (count + 1).min(LAYERS_MAX));
        }
        assert!(begun.to_bytes().len() < 64 << 20);
    }
}
