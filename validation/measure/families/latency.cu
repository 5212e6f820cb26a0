// Latency: one chain or many, cycles of a hop from the SM's own clock.

#include <algorithm>
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

/// A chain in memory: `bytes` cut into entries of `stride`, in one random cycle over all of them or some.
class Chain {
public:
    Chain(std::uint64_t bytes, std::uint32_t stride, const std::vector<std::uint64_t>* places, Bench& bench)
        : stride_(stride), entries_(bytes / stride), memory_(bytes + kPage) {
        const std::uint64_t seed = bench.seed();
        successors_ =
            places == nullptr ? kernels::single_cycle(entries_, seed) : kernels::single_cycle(*places, entries_, seed);
        const DeviceBuffer successors(successors_.size() * sizeof(std::uint64_t));
        kernels::check(cudaMemcpyAsync(successors.as(), successors_.data(), successors.bytes(), cudaMemcpyHostToDevice,
                                       bench.stream()),
                       "cudaMemcpyAsync");
        kernels::write_chain(first(), stride, successors.as<std::uint64_t>(), entries_, bench.stream());
        bench.synchronize();
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
    static constexpr std::uint64_t kPage = 2 << 20;
    std::uint32_t stride_;
    std::uint64_t entries_;
    DeviceBuffer memory_;
    std::vector<std::uint64_t> successors_;
};

/// Adds the mean cycles of a hop over the chains that ran, and checks where each ended.
void add_sample(Outcome& outcome, const std::vector<ChaseResult>& results, std::uint64_t hops,
                const std::function<std::uint64_t(std::size_t)>& expected) {
    double cycles = 0, ns = 0;
    int ran = 0;
    for (std::size_t i = 0; i < results.size(); ++i) {
        if (results[i].ran == 0) continue;
        ++ran;
        cycles += static_cast<double>(results[i].cycles);
        ns += static_cast<double>(results[i].ns);
        if (results[i].last != expected(i)) outcome.check.reason = "a chain ended elsewhere than the host says";
    }
    if (ran == 0) {
        outcome.check.reason = "no chain ran";
        return;
    }
    outcome.samples.push_back(cycles / ran / static_cast<double>(hops));
    outcome.sm_clock_mhz = ns > 0 ? cycles / ns * 1e3 : 0;
    outcome.details["ns"] = ns / ran / static_cast<double>(hops);
}

Outcome run_chain(const Case& c, Bench& bench, ChasePath path, const Chain& chain, int sm) {
    const auto chains = static_cast<int>(c.params.value("chains", 1));
    // CTAs of four chains when there are enough of them to fill the chip otherwise with one each.
    const int per_cta = path == ChasePath::tma ? 1 : chains > 4 * bench.sms() && chains % 4 == 0 ? 4 : 1;
    const int ctas = chains / per_cta;
    ChaseArguments args{chain.first(), chain.entries(), chain.stride(), 0, 0};
    args.only_sm = sm;
    args.box_bytes = static_cast<std::uint32_t>(c.params.value("box_bytes", 16));
    // One lap warms what fits a cache; a larger footprint is cold at every hop anyway.
    const std::uint64_t lap = chain.entries() / static_cast<std::uint64_t>(std::max(1, chains)) + 1;
    const bool fits = c.number("bytes") <= static_cast<std::int64_t>(bench.facts().l2_bytes);
    args.warm_hops = fits ? lap : std::min<std::uint64_t>(lap, 200);
    args.hops = std::min(kMostHops / (chains > 1 ? 20 : 1), std::max<std::uint64_t>(lap, 1000));
    const int count = sm >= 0 ? 1 : chains;
    const DeviceBuffer results(static_cast<std::size_t>(std::max(count, bench.sms())) * sizeof(ChaseResult));
    Outcome outcome;
    outcome.details = Json::object();
    outcome.check.against = "where the host's copy of the chain ends";
    for (int sample = 0; sample < kSamples; ++sample) {
        kernels::check(cudaMemsetAsync(results.as(), 0, results.bytes(), bench.stream()), "cudaMemsetAsync");
        kernels::chase(path, args, ctas, per_cta, results.as<ChaseResult>(), bench.stream());
        // A chain on a chosen SM writes at its CTA's place, which is any.
        const auto all = results_of(results, sm >= 0 ? bench.sms() : count, bench);
        add_sample(outcome, all, args.hops, [&](std::size_t i) {
            const std::uint64_t start = sm >= 0 ? 0 : i * chain.entries() / static_cast<std::uint64_t>(chains);
            return chain.after(start, args.warm_hops + args.hops);
        });
        if (!outcome.check.reason.empty()) break;
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
    outcome.check.against = "where the host's copy of the chain ends";
    const DeviceBuffer results(static_cast<std::size_t>(bench.sms()) * sizeof(ChaseResult));
    for (int sample = 0; sample < kSamples; ++sample) {
        // Fresh memory for each sample: no line of it is in any cache's other half.
        const Chain all(static_cast<std::uint64_t>(c.number("bytes")), stride, nullptr, bench);
        const std::vector<std::uint64_t> places =
            blocks_of_half(0, near, all.first(), static_cast<int>(all.entries()), bench);
        std::vector<std::uint64_t> with_first = places;
        // The chain starts at entry 0: it joins the cycle even when its home is the other half.
        if (std::ranges::find(with_first, 0U) == with_first.end()) with_first.push_back(0);
        const Chain chain(static_cast<std::uint64_t>(c.number("bytes")), stride, &with_first, bench);
        ChaseArguments args{chain.first(), chain.entries(), stride, 0, with_first.size() - 1};
        args.only_sm = near ? 0 : far_sm;
        kernels::chase(ChasePath::l2, args, 1, 1, results.as<ChaseResult>(), bench.stream());
        args.only_sm = 0;
        kernels::check(cudaMemsetAsync(results.as(), 0, results.bytes(), bench.stream()), "cudaMemsetAsync");
        kernels::chase(ChasePath::l2, args, 1, 1, results.as<ChaseResult>(), bench.stream());
        add_sample(outcome, results_of(results, bench.sms(), bench), args.hops,
                   [&](std::size_t) { return chain.after(0, args.hops); });
        outcome.details["lines"] = with_first.size();
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
        add_sample(outcome, results_of(results, 1, bench), hops, [&](std::size_t) { return last; });
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
    const Chain chain(static_cast<std::uint64_t>(c.number("bytes")), static_cast<std::uint32_t>(c.number("stride")),
                      nullptr, bench);
    const int sm = static_cast<int>(c.params.value("sm", -1));
    if (sm >= bench.sms()) throw std::runtime_error("this device has no SM " + std::to_string(sm));
    return run_chain(c, bench, path, chain, sm);
}

}  // namespace memwall::measure
