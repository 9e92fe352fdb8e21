//! One block of each of 16 messages, by AVX-512.
//!
//! What is done sixteen times is written by macros: the words then stay in registers, which a loop
//! over them loses.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_loadu_si512, _mm512_ror_epi32, _mm512_set1_epi32,
    _mm512_set4_epi32, _mm512_shuffle_epi8, _mm512_shuffle_i32x4, _mm512_srli_epi32,
    _mm512_storeu_si512, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

use crate::{BLOCK, LANES, States};

/// The round constants (FIPS 180-4, section 4.2.2).
const K: [u32; 64] = [
    0x428a_2f98,
    0x7137_4491,
    0xb5c0_fbcf,
    0xe9b5_dba5,
    0x3956_c25b,
    0x59f1_11f1,
    0x923f_82a4,
    0xab1c_5ed5,
    0xd807_aa98,
    0x1283_5b01,
    0x2431_85be,
    0x550c_7dc3,
    0x72be_5d74,
    0x80de_b1fe,
    0x9bdc_06a7,
    0xc19b_f174,
    0xe49b_69c1,
    0xefbe_4786,
    0x0fc1_9dc6,
    0x240c_a1cc,
    0x2de9_2c6f,
    0x4a74_84aa,
    0x5cb0_a9dc,
    0x76f9_88da,
    0x983e_5152,
    0xa831_c66d,
    0xb003_27c8,
    0xbf59_7fc7,
    0xc6e0_0bf3,
    0xd5a7_9147,
    0x06ca_6351,
    0x1429_2967,
    0x27b7_0a85,
    0x2e1b_2138,
    0x4d2c_6dfc,
    0x5338_0d13,
    0x650a_7354,
    0x766a_0abb,
    0x81c2_c92e,
    0x9272_2c85,
    0xa2bf_e8a1,
    0xa81a_664b,
    0xc24b_8b70,
    0xc76c_51a3,
    0xd192_e819,
    0xd699_0624,
    0xf40e_3585,
    0x106a_a070,
    0x19a4_c116,
    0x1e37_6c08,
    0x2748_774c,
    0x34b0_bcb5,
    0x391c_0cb3,
    0x4ed8_aa4a,
    0x5b9c_ca4f,
    0x682e_6ff3,
    0x748f_82ee,
    0x78a5_636f,
    0x84c8_7814,
    0x8cc7_0208,
    0x90be_fffa,
    0xa450_6ceb,
    0xbef9_a3f7,
    0xc671_78f2,
];

/// Truth tables of the three-operand instruction: exclusive or, choice, majority.
const XOR: i32 = 0x96;
const CHOICE: i32 = 0xca;
const MAJORITY: i32 = 0xe8;

/// Whether the processor can do this.
#[inline]
pub fn is_able() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
}

/// Compress one block of each message into its state.
///
/// # Panics
///
/// When the processor cannot.
#[allow(unsafe_code)]
pub fn compress(states: &mut States, blocks: &[&[u8; BLOCK]; LANES]) {
    assert!(is_able());
    // SAFETY: the processor has the features that the function is compiled for.
    unsafe { compress_wide(states, blocks) }
}

/// One round; the names are those of the standard, which change their places in the next round.
macro_rules! round {
    ($word:expr, $k:expr;
     $a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident) => {
        let input = _mm512_add_epi32($word, _mm512_set1_epi32($k.cast_signed()));
        let choice = _mm512_ternarylogic_epi32::<CHOICE>($e, $f, $g);
        let waiting = _mm512_add_epi32(_mm512_add_epi32($h, input), choice);
        let first = _mm512_add_epi32(waiting, turned::<6, 11, 25>($e));
        let majority = _mm512_ternarylogic_epi32::<MAJORITY>($a, $b, $c);
        $d = _mm512_add_epi32($d, first);
        let second = _mm512_add_epi32(turned::<2, 13, 22>($a), majority);
        $h = _mm512_add_epi32(first, second);
    };
}

macro_rules! eight_rounds {
    ($words:ident, $at:literal, $k:ident;
     $a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident) => {
        round!($words[$at], $k[$at]; $a $b $c $d $e $f $g $h);
        round!($words[$at + 1], $k[$at + 1]; $h $a $b $c $d $e $f $g);
        round!($words[$at + 2], $k[$at + 2]; $g $h $a $b $c $d $e $f);
        round!($words[$at + 3], $k[$at + 3]; $f $g $h $a $b $c $d $e);
        round!($words[$at + 4], $k[$at + 4]; $e $f $g $h $a $b $c $d);
        round!($words[$at + 5], $k[$at + 5]; $d $e $f $g $h $a $b $c);
        round!($words[$at + 6], $k[$at + 6]; $c $d $e $f $g $h $a $b);
        round!($words[$at + 7], $k[$at + 7]; $b $c $d $e $f $g $h $a);
    };
}

/// The next words of the schedules, each in the place of one that is not needed any more.
macro_rules! extend {
    ($words:ident; $($at:literal)*) => {$(
        let (second, newest) = ($words[($at + 1) % 16], $words[($at + 14) % 16]);
        let small_0 = shifted::<7, 18, 3>(second);
        let small_1 = shifted::<17, 19, 10>(newest);
        let old = _mm512_add_epi32($words[$at], $words[($at + 9) % 16]);
        $words[$at] = _mm512_add_epi32(_mm512_add_epi32(old, small_0), small_1);
    )*};
}

#[target_feature(enable = "avx512f,avx512bw")]
fn compress_wide(states: &mut States, blocks: &[&[u8; BLOCK]; LANES]) {
    let mut words = message_words(blocks);
    let [a0, b0, c0, d0, e0, f0, g0, h0] = &mut *states;
    let (mut a, mut b, mut c, mut d) = (load(a0), load(b0), load(c0), load(d0));
    let (mut e, mut f, mut g, mut h) = (load(e0), load(f0), load(g0), load(h0));
    for (index, k) in K.as_chunks::<16>().0.iter().enumerate() {
        if index > 0 {
            extend!(words; 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        }
        eight_rounds!(words, 0, k; a b c d e f g h);
        eight_rounds!(words, 8, k; a b c d e f g h);
    }
    for (place, after) in states.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        let sum = _mm512_add_epi32(load(place), after);
        store(place, sum);
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn turned<const A: i32, const B: i32, const C: i32>(word: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<XOR>(
        _mm512_ror_epi32::<A>(word),
        _mm512_ror_epi32::<B>(word),
        _mm512_ror_epi32::<C>(word),
    )
}

#[target_feature(enable = "avx512f")]
#[inline]
fn shifted<const A: i32, const B: i32, const C: u32>(word: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<XOR>(
        _mm512_ror_epi32::<A>(word),
        _mm512_ror_epi32::<B>(word),
        _mm512_srli_epi32::<C>(word),
    )
}

#[target_feature(enable = "avx512f")]
#[inline]
#[allow(unsafe_code)]
fn load(words: &[u32; LANES]) -> __m512i {
    // SAFETY: the reference is to as many bytes as are read; no alignment is asked for.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
#[allow(unsafe_code)]
fn load_block(block: &[u8; BLOCK]) -> __m512i {
    // SAFETY: the reference is to as many bytes as are read; no alignment is asked for.
    unsafe { _mm512_loadu_si512(block.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
#[allow(unsafe_code)]
fn store(place: &mut [u32; LANES], words: __m512i) {
    // SAFETY: the reference is to as many bytes as are written; no alignment is asked for.
    unsafe { _mm512_storeu_si512(place.as_mut_ptr().cast(), words) }
}

/// The words of all blocks by their place in them, read as big-endian: 16 by 16 words transposed,
/// within groups of four first, then the groups.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn message_words(blocks: &[&[u8; BLOCK]; LANES]) -> [__m512i; 16] {
    let zero = _mm512_set1_epi32(0);
    let order = _mm512_set4_epi32(0x0c0d_0e0f, 0x0809_0a0b, 0x0405_0607, 0x0001_0203);
    let (mut fours, mut out) = ([zero; 16], [zero; 16]);
    for at in [0, 4, 8, 12] {
        let one = _mm512_shuffle_epi8(load_block(blocks[at]), order);
        let two = _mm512_shuffle_epi8(load_block(blocks[at + 1]), order);
        let three = _mm512_shuffle_epi8(load_block(blocks[at + 2]), order);
        let four = _mm512_shuffle_epi8(load_block(blocks[at + 3]), order);
        let (low, high) = (
            _mm512_unpacklo_epi32(one, two),
            _mm512_unpackhi_epi32(one, two),
        );
        let next_low = _mm512_unpacklo_epi32(three, four);
        let next_high = _mm512_unpackhi_epi32(three, four);
        fours[at] = _mm512_unpacklo_epi64(low, next_low);
        fours[at + 1] = _mm512_unpackhi_epi64(low, next_low);
        fours[at + 2] = _mm512_unpacklo_epi64(high, next_high);
        fours[at + 3] = _mm512_unpackhi_epi64(high, next_high);
    }
    for at in [0, 1, 2, 3] {
        let even = _mm512_shuffle_i32x4::<0x88>(fours[at], fours[at + 4]);
        let odd = _mm512_shuffle_i32x4::<0xdd>(fours[at], fours[at + 4]);
        let next_even = _mm512_shuffle_i32x4::<0x88>(fours[at + 8], fours[at + 12]);
        let next_odd = _mm512_shuffle_i32x4::<0xdd>(fours[at + 8], fours[at + 12]);
        out[at] = _mm512_shuffle_i32x4::<0x88>(even, next_even);
        out[at + 4] = _mm512_shuffle_i32x4::<0x88>(odd, next_odd);
        out[at + 8] = _mm512_shuffle_i32x4::<0xdd>(even, next_even);
        out[at + 12] = _mm512_shuffle_i32x4::<0xdd>(odd, next_odd);
    }
    out
}
