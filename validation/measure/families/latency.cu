// Latency: one chain or many, cycles of a hop from the SM's own clock.

#include <algorithm>
#include <list>
#include <numeric>

#include "bench.h"
#include "chase.h"
#include "chip_map.h"
#include "permutation.h"

namespace memwall::measure {

using kernels::ChaseArguments;
using kernels::ChasePath;
using kernels::ChaseResult;
using kernels::DeviceBuffer;

namespace {

constexpr int kSamples = 7;
constexpr std::uint64_t kMostHops = 20000;

std::vector<ChaseResult> results_of(const DeviceBuffer& from, int count, Bench& bench) {
    std::vector<ChaseResult> host(static_cast<std::size_t>(count));
    kernels::check(cudaMemcpyAsync(host.data(), from.as(), host.size() * sizeof(ChaseResult), cudaMemcpyDeviceToHost,
                                   bench.stream()),
                   "cudaMemcpyAsync");
    bench.synchronize();
    return host;
}

/// A chain in memory: `bytes` cut into entries of `stride`. It is none before it is linked.
class Chain {
public:
    Chain(std::uint64_t bytes, std::uint32_t stride)
        : stride_(stride), entries_(bytes / stride), memory_(bytes + kPage) {}

    /// One random cycle over all entries.
    void link(Bench& bench) { link(kernels::single_cycle(entries_, bench.seed()), bench); }
    /// The same over some of them.
    void link_over(const std::vector<std::uint64_t>& places, Bench& bench) {
        link(kernels::single_cycle(places, entries_, bench.seed()), bench);
    }
    /// Aligned to a page of 2 MiB, as the home hash counts.
    [[nodiscard]] std::uint64_t* first() const {
        const auto at = reinterpret_cast<std::uint64_t>(memory_.as());
        return reinterpret_cast<std::uint64_t*>((at + kPage - 1) / kPage * kPage);
    }
    [[nodiscard]] std::uint64_t entries() const { return entries_; }
    [[nodiscard]] std::uint32_t stride() const { return stride_; }
    [[nodiscard]] std::uint64_t after(std::uint64_t start, std::uint64_t hops) const {
        return kernels::followed(successors_, start, hops);
    }

private:
    void link(std::vector<std::uint64_t> successors, Bench& bench) {
        successors_ = std::move(successors);
        const DeviceBuffer on_device(successors_.size() * sizeof(std::uint64_t));
        kernels::check(cudaMemcpyAsync(on_device.as(), successors_.data(), on_device.bytes(), cudaMemcpyHostToDevice,
                                       bench.stream()),
                       "cudaMemcpyAsync");
        kernels::write_chain(first(), stride_, on_device.as<std::uint64_t>(), entries_, bench.stream());
        bench.synchronize();
    }

    static constexpr std::uint64_t kPage = 2 << 20;
    std::uint32_t stride_;
    std::uint64_t entries_;
    DeviceBuffer memory_;
    std::vector<std::uint64_t> successors_;
};

/// Adds the mean cycles of a hop over the chains.
void add_sample(Outcome& outcome, const std::vector<ChaseResult>& results, std::uint64_t hops) {
    double cycles = 0, ns = 0;
    for (const ChaseResult& r : results) {
        if (r.ran == 0) outcome.check.reason = "a chain did not run";
        cycles += static_cast<double>(r.cycles);
        ns += static_cast<double>(r.ns);
    }
    const double all_hops = static_cast<double>(results.size()) * static_cast<double>(hops);
    outcome.samples.push_back(cycles / all_hops);
    outcome.sm_clock_mhz = ns > 0 ? cycles / ns * 1e3 : 0;
    outcome.details["ns"] = ns / all_hops;
}

constexpr const char* kAgainst = "where the host's copy of the chain ends";
constexpr const char* kElsewhere = "a chain ended elsewhere than the host says";

/// Where the first chains ought to be, hop after hop; not all of them, since the host is slow at this.
class Followers {
public:
    Followers(const Chain& chain, std::uint64_t chains) : chain_(chain) {
        constexpr std::uint64_t kFollowed = 32;
        for (std::uint64_t i = 0; i < std::min(chains, kFollowed); ++i) at_.push_back(i * chain.entries() / chains);
    }
    /// All go `hops` further; whether the results agree.
    bool follow(std::uint64_t hops, const std::vector<ChaseResult>& results) {
        bool right = true;
        for (std::size_t i = 0; i < at_.size(); ++i) {
            at_[i] = chain_.after(at_[i], hops);
            right = right && results[i].last == at_[i];
        }
        return right;
    }

private:
    const Chain& chain_;
    std::vector<std::uint64_t> at_;
};

Outcome run_chain(const Case& c, Bench& bench, ChasePath path, const Chain& chain, int sm) {
    const auto chains = static_cast<int>(c.params.value("chains", 1));
    // CTAs of four chains when there are enough of them to fill the chip otherwise with one each.
    const int per_cta = path == ChasePath::tma ? 1 : chains > 4 * bench.sms() && chains % 4 == 0 ? 4 : 1;
    const int ctas = chains / per_cta;
    ChaseArguments args{chain.first(), chain.entries(), chain.stride(), 0, 0};
    args.only_sm = sm;
    args.box_bytes = static_cast<std::uint32_t>(c.params.value("box_bytes", 16));
    // The first launch also warms what fits L2, or nearly, by a lap; what a lap brings there is a line of each entry,
    // or its box. Where that is far more, linking has left the last lines in L2, and they are driven out. Each launch
    // goes on where the last one ended: lines that are not to be found in a cache are not touched again before the
    // chain has come round. L1 is emptied between launches, and warmed in each.
    const std::uint64_t lap = chain.entries() / static_cast<std::uint64_t>(chains) + 1;
    const std::uint64_t entry_bytes = std::min(chain.stride(), std::max(128U, args.box_bytes));
    const std::uint64_t driven_out = 4 * static_cast<std::uint64_t>(bench.facts().l2_bytes);
    const bool warmed = chain.entries() * entry_bytes <= driven_out;
    args.warm_hops = warmed ? lap : std::min<std::uint64_t>(lap, 200);
    const std::uint64_t warm_again = path == ChasePath::l1 ? lap : 0;
    if (!warmed) {
        const DeviceBuffer other(driven_out);
        kernels::poison(other.as(), other.bytes(), bench.stream());
        bench.synchronize();
    }
    args.hops = std::min<std::uint64_t>(kMostHops / (chains > 1 ? 20 : 1), std::max<std::uint64_t>(lap, 1000));
    const DeviceBuffer results(static_cast<std::size_t>(chains) * sizeof(ChaseResult));
    kernels::check(cudaMemsetAsync(results.as(), 0, results.bytes(), bench.stream()), "cudaMemsetAsync");
    Followers followers(chain, static_cast<std::uint64_t>(chains));
    Outcome outcome;
    outcome.details = Json::object();
    outcome.check.against = kAgainst;
    for (int sample = 0; sample < kSamples && outcome.check.reason.empty(); ++sample) {
        kernels::chase(path, args, ctas, per_cta, results.as<ChaseResult>(), bench.stream());
        const auto all = results_of(results, chains, bench);
        add_sample(outcome, all, args.hops);
        if (!followers.follow(args.warm_hops + args.hops, all)) outcome.check.reason = kElsewhere;
        args.resume = true;
        args.warm_hops = warm_again;
    }
    outcome.method = "clock64 around " + std::to_string(args.hops) + " dependent loads, mean over chains";
    return outcome;
}

/// Blocks of 4 KiB that are near to, or far from, SM `sm`, as indices of entries of one block each.
std::vector<std::uint64_t> blocks_of_half(int sm, bool near, std::uint64_t* region, int blocks, Bench& bench) {
    const std::vector<bool> is_near =
        kernels::near_blocks(sm, reinterpret_cast<std::uint32_t*>(region), blocks, bench.stream());
    std::vector<std::uint64_t> chosen;
    for (std::size_t i = 0; i < is_near.size(); ++i) {
        if (is_near[i] == near) chosen.push_back(i);
    }
    return chosen;
}

/// A lap over lines of one half. Far: an SM of the other half brings them into their home first, and the timed lap is
/// the first touch from this half.
Outcome run_half(const Case& c, Bench& bench) {
    const bool near = c.text("warm") == "near";
    const kernels::ChipMap& map = kernels::chip_map(bench.stream());
    if (map.half_of_sm.empty()) throw std::runtime_error("the halves of the L2 were not told apart");
    const auto other = std::ranges::find(map.half_of_sm, 1);
    if (other == map.half_of_sm.end()) throw std::runtime_error("all SMs seem to belong to one half");
    const int far_sm = static_cast<int>(other - map.half_of_sm.begin());
    const auto stride = static_cast<std::uint32_t>(c.number("stride"));
    Outcome outcome;
    outcome.details = Json::object();
    outcome.check.against = kAgainst;
    const DeviceBuffer results(sizeof(ChaseResult));
    // Fresh memory for each sample, the one before still held: no line of it has a copy in SM 0's half.
    std::list<Chain> chains;
    for (int sample = 0; sample < kSamples; ++sample) {
        Chain& chain = chains.emplace_back(static_cast<std::uint64_t>(c.number("bytes")), stride);
        std::vector<std::uint64_t> places =
            blocks_of_half(0, near, chain.first(), static_cast<int>(chain.entries()), bench);
        // The chain starts at entry 0: it joins the cycle even when its home is the other half.
        if (std::ranges::find(places, 0U) == places.end()) places.push_back(0);
        chain.link_over(places, bench);
        ChaseArguments args{chain.first(), chain.entries(), stride, 0, places.size() - 1};
        args.only_sm = near ? 0 : far_sm;
        kernels::chase(ChasePath::l2, args, 1, 1, results.as<ChaseResult>(), bench.stream());
        args.only_sm = 0;
        kernels::chase(ChasePath::l2, args, 1, 1, results.as<ChaseResult>(), bench.stream());
        const auto seen = results_of(results, 1, bench);
        add_sample(outcome, seen, args.hops);
        if (seen.front().last != chain.after(0, args.hops)) outcome.check.reason = kElsewhere;
        outcome.details["lines"] = places.size();
    }
    outcome.method = near ? "second lap of one SM over lines whose home is its own half"
                          : "first lap of one SM over lines that an SM of the other half brought into their home";
    return outcome;
}

Outcome run_simple(Bench& bench, const std::string& method, std::uint64_t hops, std::uint64_t last,
                   const std::function<void(ChaseResult*)>& launch) {
    const DeviceBuffer results(sizeof(ChaseResult));
    Outcome outcome;
    outcome.details = Json::object();
    outcome.check.against = "the end of the chain";
    for (int sample = 0; sample < kSamples; ++sample) {
        kernels::check(cudaMemsetAsync(results.as(), 0, results.bytes(), bench.stream()), "cudaMemsetAsync");
        launch(results.as<ChaseResult>());
        const auto all = results_of(results, 1, bench);
        add_sample(outcome, all, hops);
        if (all.front().last != last) outcome.check.reason = kElsewhere;
    }
    outcome.method = method;
    return outcome;
}

}  // namespace

Outcome measure_latency(const Case& c, Bench& bench) {
    constexpr std::uint64_t kHops = 20000;
    if (c.op == "smem_chase") {
        const auto entries = static_cast<std::uint32_t>(c.number("bytes") / 4);
        return run_simple(bench, "clock64 around dependent loads of shared memory", kHops, kHops * 97 % entries,
                          [&](ChaseResult* r) { kernels::chase_shared(entries, kHops, r, bench.stream()); });
    }
    if (c.op == "dsmem_chase") {
        const auto cluster = static_cast<int>(c.number("cluster_size"));
        return run_simple(bench, "clock64 around dependent loads of rank 1's shared memory by rank 0", kHops,
                          kHops * 97 % 1024,
                          [&](ChaseResult* r) { kernels::chase_peer(cluster, 1, kHops, r, bench.stream()); });
    }
    if (c.params.contains("warm")) return run_half(c, bench);
    const std::string access = c.text("access");
    const ChasePath path = access == "l1" ? ChasePath::l1 : access == "tma" ? ChasePath::tma : ChasePath::l2;
    Chain chain(static_cast<std::uint64_t>(c.number("bytes")), static_cast<std::uint32_t>(c.number("stride")));
    chain.link(bench);
    const int sm = static_cast<int>(c.params.value("sm", -1));
    if (sm >= bench.sms()) throw std::runtime_error("this device has no SM " + std::to_string(sm));
    return run_chain(c, bench, path, chain, sm);
}

}  // namespace memwall::measure
