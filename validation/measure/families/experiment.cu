// The chip's map, and what limits its L2.

#include <algorithm>
#include <chrono>
#include <map>
#include <numeric>
#include <thread>

#include "bench.h"
#include "chip_map.h"
#include "engines.h"

namespace memwall::measure {

using kernels::ChipMap;
using kernels::DeviceBuffer;

namespace {

constexpr int kSamples = 5;

Outcome of(double value, const std::string& method, const Json& details) {
    return {{value}, 0, {}, method, details};
}

Outcome gpc_map(Bench& bench) {
    const ChipMap& map = kernels::chip_map(bench.stream());
    std::map<int, int> sizes;
    for (const int gpc : map.gpc_of_sm) ++sizes[gpc];
    Json resident = Json::object(), of_size = Json::array();
    for (const int size : {2, 4, 8, 16}) resident[std::to_string(size)] = kernels::resident_clusters(size);
    for (const auto& [gpc, sms] : sizes) of_size.push_back(sms);
    return of(static_cast<double>(sizes.size()), "SMs that were seen in one cluster, united",
              {{"gpc_of_sm", map.gpc_of_sm}, {"sms_of_gpc", of_size}, {"resident_clusters", resident}});
}

Outcome sm_halves(Bench& bench) {
    const ChipMap& map = kernels::chip_map(bench.stream());
    if (map.half_of_sm.empty()) throw std::runtime_error("near and far cannot be told apart by the latency of atomics");
    return of(map.far_cycles - map.near_cycles, "latency of an atomic to far homes less that to near ones, from SM 0",
              {{"half_of_sm", map.half_of_sm},
               {"near_cycles", map.near_cycles},
               {"far_cycles", map.far_cycles},
               {"gap", map.half_gap}});
}

Outcome home_hash(Bench& bench) {
    const ChipMap& map = kernels::chip_map(bench.stream());
    if (map.home_mask == 0) throw std::runtime_error("no home hash was found");
    Json bits = Json::array();
    for (int bit = 0; bit < 64; ++bit) {
        if ((map.home_mask >> bit & 1) != 0) bits.push_back(bit);
    }
    return of(map.home_agreement, "share of 4 KiB blocks of a 2 MiB page whose home is the parity of these bits",
              {{"mask", map.home_mask}, {"bits", bits}});
}

/// Rank of each SM among those for which `takes_part` holds, -1 for the others.
template <class Predicate>
std::vector<int> ranked(int sms, const Predicate& takes_part) {
    std::vector<int> rank(static_cast<std::size_t>(sms), -1);
    int next = 0;
    for (int sm = 0; sm < sms; ++sm) {
        if (takes_part(sm)) rank[static_cast<std::size_t>(sm)] = next++;
    }
    return rank;
}

char* page_aligned(const DeviceBuffer& memory) {
    constexpr std::uint64_t kPage = 2 << 20;
    return reinterpret_cast<char*>((reinterpret_cast<std::uint64_t>(memory.as()) + kPage - 1) / kPage * kPage);
}

/// The SMs of half 0 read blocks whose home is their own or the other half, which that half's SMs have just brought
/// into its L2: the first touch from the other half goes over the link.
Outcome half_link(const Case& c, Bench& bench) {
    constexpr std::uint64_t kBytes = 32 << 20;
    const ChipMap& map = kernels::chip_map(bench.stream());
    if (map.half_of_sm.empty()) throw std::runtime_error("the halves of the L2 were not told apart");
    const bool near = c.text("home") == "near";
    const auto half = [&](int wanted) {
        return ranked(bench.sms(), [&](int sm) { return map.half_of_sm[static_cast<std::size_t>(sm)] == wanted; });
    };
    Outcome outcome;
    std::size_t blocks_read = 0;
    // Fresh memory for each sample, the one before still held: neither half has a line of it.
    std::vector<DeviceBuffer> memory;
    for (int sample = 0; sample < kSamples; ++sample) {
        char* region = page_aligned(memory.emplace_back(kBytes + (4 << 20)));
        const auto is_near = kernels::near_blocks(0, reinterpret_cast<std::uint32_t*>(region),
                                                  kBytes / kernels::kHomeBlockBytes, bench.stream());
        std::vector<int> blocks;
        for (std::size_t i = 0; i < is_near.size(); ++i) {
            if (is_near[i] == near) blocks.push_back(static_cast<int>(i));
        }
        (void)kernels::read_by(half(near ? 0 : 1), region, blocks, 1, bench.stream());
        const double us = kernels::read_by(half(0), region, blocks, 1, bench.stream());
        blocks_read = blocks.size();
        outcome.samples.push_back(static_cast<double>(blocks.size() * kernels::kHomeBlockBytes) / us * 1e-3);
    }
    outcome.method = "one pass of the SMs of one half over lines resident in " +
                     std::string(near ? "its own half" : "the other half only");
    outcome.details = {{"bytes", blocks_read * kernels::kHomeBlockBytes}};
    return outcome;
}

/// Bytes per SM clock that `sms` SMs of one GPC, or of each GPC, read from a buffer resident in L2.
Outcome l2_gpc_port(const Case& c, Bench& bench) {
    constexpr int kBlocks = 4 << 20 >> 12, kPasses = 40;
    const ChipMap& map = kernels::chip_map(bench.stream());
    const auto wanted = static_cast<int>(c.number("sms"));
    std::map<int, int> size;
    for (const int gpc : map.gpc_of_sm) ++size[gpc];
    const auto largest =
        std::ranges::max_element(size, [](const auto& a, const auto& b) { return a.second < b.second; })->first;
    const bool one = c.text("within") == "gpc";
    std::map<int, int> taken;
    const std::vector<int> rank = ranked(bench.sms(), [&](int sm) {
        const int gpc = map.gpc_of_sm[static_cast<std::size_t>(sm)];
        return (!one || gpc == largest) && taken[gpc]++ < wanted;
    });
    const int readers = *std::ranges::max_element(rank) + 1;
    if (one && readers < wanted) {
        throw std::runtime_error("the largest GPC that was found has " + std::to_string(readers) + " SMs");
    }
    const DeviceBuffer memory(static_cast<std::size_t>(kBlocks) * kernels::kHomeBlockBytes + (4 << 20));
    char* region = page_aligned(memory);
    kernels::fill_random(memory.as(), memory.bytes() / 2, kernels::Dtype::bf16, bench.seed(), bench.stream());
    std::vector<int> blocks(kBlocks);
    std::iota(blocks.begin(), blocks.end(), 0);
    Outcome outcome;
    for (int sample = 0; sample < kSamples; ++sample) {
        double us = 0;
        outcome.sm_clock_mhz =
            bench.clock_during([&] { us = kernels::read_by(rank, region, blocks, kPasses, bench.stream()); });
        const double bytes = static_cast<double>(kBlocks) * kernels::kHomeBlockBytes * kPasses;
        outcome.samples.push_back(bytes / (us * outcome.sm_clock_mhz));
    }
    outcome.method = "16-byte loads past L1 of 4 MiB, again and again, first start to last end";
    outcome.details = {{"readers", readers}, {"bytes_per_cycle_per_sm", outcome.samples.back() / readers}};
    return outcome;
}

/// Adds to a few words of one line: what one slice does in a nanosecond. An L2 clock that differs from the SM's shows
/// as a rate that stays when the SM clock moves.
Outcome l2_clock(const Case& c, Bench& bench) {
    const DeviceBuffer line(4096);
    kernels::check(cudaMemsetAsync(line.as(), 0, line.bytes(), bench.stream()), "cudaMemsetAsync");
    Outcome outcome;
    for (int sample = 0; sample < kSamples; ++sample) {
        double rate = 0;
        outcome.sm_clock_mhz = bench.clock_during([&] {
            rate = kernels::atomic_rate(line.as<std::uint32_t>(), static_cast<int>(c.number("words")), bench.stream());
        });
        outcome.samples.push_back(rate);
    }
    outcome.method = "atomics without a result from a lane of every warp to words of one line";
    outcome.details = {{"operations_per_sm_cycle", outcome.samples.back() * 1e3 / outcome.sm_clock_mhz}};
    return outcome;
}

/// Launch after launch of wgmma alone on a board that has rested: at which clock each ran. What a board's power limit
/// leaves of its clock, and after how long, is to be read off the curve.
Outcome clock_under_load(const Case& c, Bench& bench) {
    constexpr int kLaunches = 2500, kWarpgroups = 2, kColumns = 256, kProducts = 4096, kPoints = 250;
    constexpr auto kRest = std::chrono::seconds(2);
    const auto dtype = c.text("dtype") == "fp8" ? kernels::Dtype::fp8 : kernels::Dtype::bf16;
    const DeviceBuffer operands(48 << 10);
    if (c.text("data") == "random") {
        kernels::fill_random(operands.as(), operands.bytes() / kernels::bytes_of(dtype), dtype, bench.seed(),
                             bench.stream());
    } else {
        kernels::check(cudaMemsetAsync(operands.as(), 0, operands.bytes(), bench.stream()), "cudaMemsetAsync");
    }
    const auto sms = static_cast<std::size_t>(bench.sms());
    const DeviceBuffer results(kLaunches * sms * sizeof(kernels::EngineResult));
    bench.synchronize();
    std::this_thread::sleep_for(kRest);
    for (std::size_t launch = 0; launch < kLaunches; ++launch) {
        kernels::wgmma_rate(dtype, kColumns, kernels::OperandA::shared, kWarpgroups, kProducts, operands.as(),
                            results.as<kernels::EngineResult>() + launch * sms, bench.stream());
    }
    std::vector<kernels::EngineResult> all(kLaunches * sms);
    kernels::check(cudaMemcpyAsync(all.data(), results.as(), results.bytes(), cudaMemcpyDeviceToHost, bench.stream()),
                   "cudaMemcpyAsync");
    bench.synchronize();
    std::vector<double> ms, mhz;
    double elapsed_ms = 0;
    for (auto of_launch = all.begin(); of_launch != all.end(); of_launch += static_cast<std::ptrdiff_t>(sms)) {
        double cycles = 0, ns = 0;
        std::for_each_n(of_launch, sms, [&](const kernels::EngineResult& sm) {
            cycles += static_cast<double>(sm.cycles);
            ns += static_cast<double>(sm.ns);
        });
        if (ns <= 0) throw std::runtime_error("the kernel reported no time");
        elapsed_ms += ns / static_cast<double>(sms) * 1e-6;
        ms.push_back(elapsed_ms);
        mhz.push_back(cycles / ns * 1e3);
    }
    Json curve = Json::array();
    for (std::size_t i = 0; i < ms.size(); i += ms.size() / kPoints) curve.push_back({ms[i], mhz[i]});
    const auto late = mhz.end() - static_cast<std::ptrdiff_t>(mhz.size() / 5);
    Outcome outcome;
    outcome.samples.assign(late, mhz.end());
    outcome.sm_clock_mhz = std::accumulate(late, mhz.end(), 0.0) / static_cast<double>(mhz.end() - late);
    outcome.method = "the last fifth of launches of wgmma that follow one another after two seconds of rest";
    outcome.details = {{"first_launch_mhz", mhz.front()}, {"elapsed_ms_and_mhz", curve}};
    return outcome;
}

}  // namespace

Outcome measure_experiment(const Case& c, Bench& bench) {
    if (c.op == "gpc_map") return gpc_map(bench);
    if (c.op == "sm_halves") return sm_halves(bench);
    if (c.op == "home_hash") return home_hash(bench);
    if (c.op == "half_link") return half_link(c, bench);
    if (c.op == "l2_gpc_port") return l2_gpc_port(c, bench);
    if (c.op == "clock_under_load") return clock_under_load(c, bench);
    return l2_clock(c, bench);
}

}  // namespace memwall::measure
