// Random single cycles for pointer chases: plain arithmetic, no CUDA.
#pragma once

#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

namespace memwall::kernels {

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): a stream of good 64-bit values from any seed.
class SplitMix {
public:
    explicit SplitMix(std::uint64_t seed) : state_(seed) {}
    std::uint64_t next() {
        std::uint64_t x = state_ += 0x9e3779b97f4a7c15ULL;
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
        return x ^ (x >> 31);
    }
    /// In [0, bound): the high half of a product, whose bias is below 2^-32 for the bounds used here.
    std::uint64_t below(std::uint64_t bound) { return static_cast<std::uint64_t>((next() >> 32) * bound >> 32); }

private:
    std::uint64_t state_;
};

/// successor[i] of each of `places`, all in one cycle; indices that are no place stay themselves.
/// `entries`: how many successors there are in all.
inline std::vector<std::uint64_t> single_cycle(std::vector<std::uint64_t> places, std::uint64_t entries,
                                               std::uint64_t seed) {
    std::vector<std::uint64_t> successor(entries);
    std::iota(successor.begin(), successor.end(), std::uint64_t{0});
    if (places.empty()) return successor;
    // A random order of the places, each followed by the next: one cycle by construction.
    SplitMix random(seed);
    for (std::uint64_t i = places.size() - 1; i > 0; --i) std::swap(places[i], places[random.below(i + 1)]);
    for (std::uint64_t i = 0; i < places.size(); ++i) successor[places[i]] = places[(i + 1) % places.size()];
    return successor;
}

/// The same over all of 0 .. entries - 1.
inline std::vector<std::uint64_t> single_cycle(std::uint64_t entries, std::uint64_t seed) {
    std::vector<std::uint64_t> places(entries);
    std::iota(places.begin(), places.end(), std::uint64_t{0});
    return single_cycle(std::move(places), entries, seed);
}

/// Where a chain is after `hops` from `start`.
inline std::uint64_t followed(const std::vector<std::uint64_t>& successor, std::uint64_t start, std::uint64_t hops) {
    for (std::uint64_t i = 0; i < hops; ++i) start = successor[start];
    return start;
}

}  // namespace memwall::kernels
