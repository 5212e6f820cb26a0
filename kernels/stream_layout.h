// Which 16-byte pieces of an array a stream touches, and which thread touches which: plain arithmetic, the same for
// host and device, so that it is tested where there is no GPU.
//
// An array is cut into pieces of 16 bytes, numbered in the order of the walk. CTA c of `ctas` takes blocks of
// `threads` pieces c, c + ctas, c + 2 * ctas ... as a grid-stride loop does (and as the simulator's stream does).
#pragma once

#include <cstdint>

namespace memwall::kernels {

inline constexpr int kPieceBytes = 16;

/// log2 of a power of two.
constexpr int log2_of(std::int64_t power) {
    int log = 0;
    while (power > 1) {
        power /= 2;
        ++log;
    }
    return log;
}
constexpr bool is_power_of_two(std::int64_t value) {
    return value > 0 && (value & (value - 1)) == 0;
}

/// A permutation of 0 .. 2^bits - 1 that looks random: each step (xor with the own high half, product with an odd
/// number) can be undone. bits 2 to 32; the factor is MurmurHash3's second (Appleby, public domain).
constexpr std::uint32_t scattered(std::uint32_t index, int bits) {
    const std::uint32_t mask = bits == 32 ? 0xffffffffU : (1U << bits) - 1;
    const int half = (bits + 1) / 2;
    for (int round = 0; round < 2; ++round) {
        index ^= index >> half;
        index = index * 0xc2b2ae35U & mask;
    }
    return index ^ index >> half;
}

/// Where a piece lies. Of every `stride` bytes the first 2^run_log pieces are touched; with `scatter_bits` the runs
/// come in a scattered order (there are 2^scatter_bits of them).
struct PieceOrder {
    std::uint32_t pieces = 0;  ///< that are touched
    int run_log = 0;
    int stride = kPieceBytes;
    int scatter_bits = 0;

    template <bool kScattered>
    [[nodiscard]] constexpr std::uint64_t offset(std::uint32_t piece) const {
        std::uint32_t run = piece >> run_log;
        if constexpr (kScattered) run = scattered(run, scatter_bits);
        const std::uint32_t within = piece & ((1U << run_log) - 1);
        return static_cast<std::uint64_t>(run) * static_cast<std::uint32_t>(stride) + within * kPieceBytes;
    }
};

/// Of an array of `bytes`; pattern_stride 0: all of it.
constexpr PieceOrder piece_order(std::int64_t bytes, int pattern_bytes, int pattern_stride, bool scatter) {
    if (pattern_stride == 0) return {static_cast<std::uint32_t>(bytes / kPieceBytes)};
    const std::int64_t runs = bytes / pattern_stride, run = pattern_bytes / kPieceBytes;
    return {static_cast<std::uint32_t>(runs * run), log2_of(run), pattern_stride, scatter ? log2_of(runs) : 0};
}

/// The pieces of one thread: `first`, then every `step` further, `count()` of them.
struct ThreadWalk {
    std::uint32_t first, step, pieces;

    [[nodiscard]] constexpr std::uint32_t count() const { return first < pieces ? (pieces - first - 1) / step + 1 : 0; }
};

/// Of thread `thread` in CTA `cta` of `ctas`.
constexpr ThreadWalk thread_walk(std::uint32_t cta, std::uint32_t ctas, std::uint32_t thread, std::uint32_t threads,
                                 std::uint32_t pieces) {
    return {cta * threads + thread, ctas * threads, pieces};
}

/// Threads of an SM whose registers hold that many pieces of 16 bytes each, and addresses: half an SM's when they hold
/// eight, or four with two addresses each.
constexpr int most_threads_of_sm(int in_flight, bool copies) {
    return in_flight > 4 || (copies && in_flight > 2) ? 1024 : 2048;
}

/// Word `word` (0 to 3) of what a stream that only writes puts at `piece`: bits that flip as random ones do.
constexpr std::uint32_t written_word(std::uint32_t piece, int word) {
    const std::uint32_t mixed = (piece ^ piece >> 15) * 0x9e3779b1U;
    return word == 0   ? mixed
           : word == 1 ? mixed * 0x85ebca6bU
           : word == 2 ? ~(mixed << 7 | mixed >> 25)
                       : mixed + piece;
}

/// Shared memory of a CTA so that an SM has room for `ctas` of them (1 to 8) and no more, whatever their threads: just
/// over the (ctas + 1)th part of the 228 KiB (CUDA C++ Programming Guide, compute capability 9.0), the least that
/// does it, since what shared memory takes is taken from the L1.
constexpr int limiting_smem_bytes(int ctas) {
    constexpr int kSharedBytesOfSm = 233472;
    return kSharedBytesOfSm / (ctas + 1) / 128 * 128;  // and 1,024 more, which the system keeps of each CTA
}

}  // namespace memwall::kernels
