// Runs per second of one pseudo-channel, driven as the chip drives it: in windows of 20 ns, its queue kept full.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <vector>

#include "../unit/chip/hbm/hbm_fixture.h"

namespace memwall::chip {
namespace {

constexpr Ps kWindow{20'000};

void drive(benchmark::State& state, std::uint32_t run_bytes, bool random, int write_percent) {
    const device::HbmParams params = testing::h100_hbm();
    PseudoChannel channel(params, 1);
    std::vector<DramCompletion> done;
    done.reserve(256);
    const auto bursts = static_cast<std::uint16_t>(run_bytes / 32);
    const int entries = static_cast<int>(run_bytes / 64);
    const std::uint32_t pieces = 1024 / run_bytes;
    std::uint64_t dice = 1, runs = 0;
    Ps now{0};
    for (auto _ : state) {
        const std::uint64_t stop = runs + 1000;
        while (runs < stop) {
            for (;;) {
                const bool write = static_cast<int>(runs % 100) < write_percent;
                const int room = write ? params.write_queue_entries : params.read_queue_entries;
                if (channel.queued_entries(write) + entries > room) break;
                dice = dice * 6364136223846793005ULL + 1442695040888963407ULL;
                const auto piece = random ? static_cast<std::uint32_t>(dice >> 33) : static_cast<std::uint32_t>(runs);
                channel.push({0, piece / pieces % (1U << 19), static_cast<std::uint16_t>(piece % pieces * bursts),
                              bursts, write, now});
                ++runs;
            }
            now += kWindow;
            done.clear();
            channel.advance(now, done);
        }
    }
    state.SetItemsProcessed(static_cast<std::int64_t>(runs));
    ChannelObservation seen{};
    channel.observe(now, seen);
    state.counters["of_peak"] = seen.time.data_ps / static_cast<double>(now.count);
}

BENCHMARK_CAPTURE(drive, sequential_512, 512, false, 0);
BENCHMARK_CAPTURE(drive, random_512, 512, true, 0);
BENCHMARK_CAPTURE(drive, random_512_half_writes, 512, true, 50);
BENCHMARK_CAPTURE(drive, sequential_64, 64, false, 0);
BENCHMARK_CAPTURE(drive, random_64, 64, true, 0);

}  // namespace
}  // namespace memwall::chip
