//! Decimals as JSON writes them, to floats, where a few instructions give the correctly rounded
//! float. For all others [`Decimal::f64`] and [`Decimal::f32`] answer `None`, and the caller takes
//! the standard library's parser.

/// `±mantissa × 10^exponent`, exactly what the text says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    negative: bool,
    mantissa: u64,
    exponent: i32,
}

/// Digits that always fit the mantissa.
const DIGITS_MAX: usize = 19;

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// The doubles nearest to their inverses.
const INVERSES: [f64; 23] = [
    1e0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11, 1e-12, 1e-13, 1e-14,
    1e-15, 1e-16, 1e-17, 1e-18, 1e-19, 1e-20, 1e-21, 1e-22,
];

impl Decimal {
    /// Reads the number that `bytes` begin with, and how many bytes it takes. `None` when it is not
    /// as JSON has it, has more than 19 digits, or is not followed by anything.
    pub fn read(bytes: &[u8]) -> Option<(Decimal, usize)> {
        let negative = *bytes.first()? == b'-';
        let start = usize::from(negative);
        let mut mantissa = 0;
        let point = digits(bytes, start, &mut mantissa);
        let whole = point - start;
        if whole == 0 || (whole > 1 && bytes[start] == b'0') {
            return None;
        }
        let (mut at, mut exponent) = (point, 0);
        if *bytes.get(at)? == b'.' {
            at = digits(bytes, point + 1, &mut mantissa);
            let fraction = at - point - 1;
            if fraction == 0 || whole + fraction > DIGITS_MAX {
                return None;
            }
            exponent = -(fraction as i32);
        } else if whole > DIGITS_MAX {
            return None;
        }
        if matches!(bytes.get(at)?, b'e' | b'E') {
            let (power, end) = power(bytes, at + 1)?;
            exponent += power;
            at = end;
        }
        let decimal = Decimal {
            negative,
            mantissa,
            exponent,
        };
        (at < bytes.len()).then_some((decimal, at))
    }

    /// The nearest double, where the mantissa and the power of ten are doubles themselves: one
    /// correctly rounded operation then gives it.
    pub fn f64(self) -> Option<f64> {
        if self.mantissa > 1 << 53 {
            return None;
        }
        self.scaled()
    }

    /// What the nearest double rounds to in 32 bits.
    ///
    /// Up to 18 digits the product below is within four units of the last place of the nearest
    /// double: half a unit each, relative to its upper end, for the mantissa, the power of ten and
    /// the product. Both round to the same `f32` unless the middle between two of those is that
    /// near.
    pub fn f32(self) -> Option<f32> {
        /// Bits of a double's mantissa that an `f32` does not have.
        const CUT: u64 = (1 << 29) - 1;
        const MIDDLE: u64 = 1 << 28;
        if self.mantissa > i64::MAX as u64 {
            return None;
        }
        // Signed: one instruction instead of five.
        let mantissa = self.mantissa.cast_signed() as f64;
        let power = self.exponent.unsigned_abs() as usize;
        let magnitude = match self.exponent < 0 {
            true => mantissa * INVERSES.get(power)?,
            false => mantissa * POWERS.get(power)?,
        };
        let near = (magnitude.to_bits() & CUT).abs_diff(MIDDLE) <= 4;
        let plain = magnitude == 0.0 || (1e-37..1e38).contains(&magnitude);
        if !plain || near {
            let double = self.f64()?;
            return (double == 0.0 || (1e-37..1e38).contains(&double.abs()))
                .then_some(double as f32);
        }
        let single = magnitude as f32;
        Some(if self.negative { -single } else { single })
    }

    fn scaled(self) -> Option<f64> {
        let power = *POWERS.get(self.exponent.unsigned_abs() as usize)?;
        let mantissa = self.mantissa as f64;
        let magnitude = match self.exponent < 0 {
            true => mantissa / power,
            false => mantissa * power,
        };
        Some(if self.negative { -magnitude } else { magnitude })
    }
}

/// Adds the digits from `at` on to the mantissa, and gives where they end. The mantissa is without
/// meaning after more than 19 digits.
fn digits(bytes: &[u8], mut at: usize, mantissa: &mut u64) -> usize {
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let Some(value) = eight_digits(u64::from_le_bytes(*eight)) else {
            break;
        };
        *mantissa = mantissa.wrapping_mul(100_000_000).wrapping_add(value);
        at += 8;
    }
    while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
        *mantissa = mantissa
            .wrapping_mul(10)
            .wrapping_add(u64::from(digit - b'0'));
        at += 1;
    }
    at
}

/// The number that eight ASCII digits make, the first one in the lowest byte; `None` when one of
/// them is no digit.
fn eight_digits(word: u64) -> Option<u64> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let high = word & (ONES * 0xf0);
    let low = word.wrapping_add(ONES * 6) & (ONES * 0xf0);
    if high != ONES * 0x30 || low != ONES * 0x30 {
        return None;
    }
    let digits = word & (ONES * 0x0f);
    // Neighbours are joined: digits to pairs, pairs to fours, fours to eight.
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours * 10_000 + (fours >> 32)) & 0xffff_ffff)
}

/// The power of ten after an `e`, up to three digits, and where it ends.
fn power(bytes: &[u8], mut at: usize) -> Option<(i32, usize)> {
    let negative = match bytes.get(at)? {
        b'-' => true,
        b'+' => false,
        _ => {
            at -= 1;
            false
        }
    };
    at += 1;
    let start = at;
    let mut power = 0;
    while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
        if at - start == 3 {
            return None;
        }
        power = power * 10 + i32::from(digit - b'0');
        at += 1;
    }
    (at > start).then_some((if negative { -power } else { power }, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Where there is an answer, it is the standard library's.
    fn check(text: &str) {
        let with_end = format!("{text},");
        let Some((decimal, length)) = Decimal::read(with_end.as_bytes()) else {
            return;
        };
        assert_eq!(length, text.len(), "{text}");
        let expected: f64 = text.parse().unwrap();
        if let Some(value) = decimal.f64() {
            assert_eq!(value.to_bits(), expected.to_bits(), "{text}");
        }
        if let Some(value) = decimal.f32() {
            assert_eq!(value.to_bits(), (expected as f32).to_bits(), "{text}");
        }
    }

    #[test]
    fn usual_numbers_are_answered() {
        for (text, expected) in [
            ("0", 0.0),
            ("-0", -0.0),
            ("1", 1.0),
            ("-12.5", -12.5),
            ("0.123456789", 0.123_456_789),
            ("123456789012345", 123_456_789_012_345.0),
            ("1e-3", 0.001),
            ("2.5E+10", 2.5e10),
        ] {
            let with_end = format!("{text}]");
            let (decimal, length) = Decimal::read(with_end.as_bytes()).unwrap();
            assert_eq!(length, text.len());
            let bits = decimal.f64().map(f64::to_bits);
            assert_eq!(bits, Some(f64::to_bits(expected)), "{text}");
            assert!(decimal.f32().is_some(), "{text}");
        }
        // A 32-bit float as Python writes it has more digits than a double's mantissa holds.
        let (decimal, _) = Decimal::read(b"0.10000000149011612,").unwrap();
        assert_eq!((decimal.f64(), decimal.f32()), (None, Some(0.1)));
    }

    #[test]
    fn what_is_no_number_is_not_read() {
        for text in [
            "",
            "-",
            "+1,",
            ".5,",
            "1.,",
            "01,",
            "-01.5,",
            "1.e3,",
            "1e,",
            "1e+,",
            "1e1234,",
            "x,",
            "1",
            "1.5",
            "12345678901234567890,",
            "1.2345678901234567890,",
            "NaN,",
        ] {
            assert_eq!(Decimal::read(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn values_next_to_the_middle_of_two_floats_round_as_doubles_do() {
        for text in [
            "1.00000005960464477539",
            "1.000000059604644775",
            "1.000000059604644776",
            "16777217.0000000001",
            "16777217",
            "16777219",
            "3.4028235677973366e38",
            "1.1754943508222875e-38",
            "9007199254740993",
            "0.000000000000000000000000000000000000000000001",
        ] {
            check(text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn answers_are_the_standard_librarys(bits in any::<u64>(), digits in 1_usize..20) {
            let double = f64::from_bits(bits);
            if double.is_finite() {
                check(&format!("{double}"));
                check(&format!("{double:e}"));
            }
            let single = f32::from_bits(bits as u32);
            if single.is_finite() {
                check(&format!("{}", f64::from(single)));
                check(&format!("{single:e}"));
                // The middle between two floats, and next to it.
                let next = f32::from_bits((bits as u32).wrapping_add(1));
                let middle = (f64::from(single) + f64::from(next)) / 2.0;
                if middle.is_finite() {
                    for double in [middle.next_down(), middle, middle.next_up()] {
                        check(&format!("{double:e}"));
                        check(&format!("{double}"));
                    }
                }
            }
            let integer = bits / 10_u64.pow(20 - digits as u32);
            check(&format!("{integer}"));
            check(&format!("-0.{integer:0>digits$}"));
            check(&format!("{}.{}", bits >> 40, bits & 0xfff_ffff));
        }
    }
}
