// Speed of the whole simulator, beside the bare event rate of SystemC measured in the same run: ratios mean something
// on any machine, seconds do not.
#include <benchmark/benchmark.h>

#include <memory>
#include <systemc>

#include "base/huge_pages.h"
#include "cli/simulation.h"
#include "cli/verbs.h"
#include "device/reader.h"
#include "workload/workload.h"

namespace memwall {
namespace {

/// 140 modules whose timed wake-ups coincide: what a model of this many parts pays for time itself.
class Ticker : public sc_core::sc_module {
public:
    SC_HAS_PROCESS(Ticker);
    Ticker(const sc_core::sc_module_name& name, long limit) : sc_module(name), limit_(limit) {
        SC_METHOD(tick);
        sensitive << event;
        dont_initialize();
    }
    sc_core::sc_event event;

private:
    void tick() {
        if (++count_ < limit_) event.notify(sc_core::sc_time::from_value(20000));
    }
    long limit_, count_ = 0;
};

void BareSystemC(benchmark::State& state) {
    constexpr int kModules = 140, kTicks = 20000;
    for (auto _ : state) {
        sc_core::sc_simcontext context;
        sc_core::sc_curr_simcontext = &context;
        std::vector<std::unique_ptr<Ticker>> modules;
        for (int i = 0; i < kModules; ++i)
            modules.push_back(
                std::make_unique<Ticker>(sc_core::sc_module_name(sc_core::sc_gen_unique_name("t")), kTicks));
        for (auto& module : modules) module->event.notify(sc_core::sc_time::from_value(20000));
        sc_core::sc_start();
        modules.clear();
        sc_core::sc_curr_simcontext = nullptr;
    }
    state.counters["activations/s"] =
        benchmark::Counter(static_cast<double>(state.iterations()) * kModules * kTicks, benchmark::Counter::kIsRate);
}
BENCHMARK(BareSystemC)->Unit(benchmark::kMillisecond);

void Simulate(benchmark::State& state, const std::string& op) {
    const cli::ConfigDirs dirs{{MEMWALL_SOURCE_DIR "/configs"}, {MEMWALL_SOURCE_DIR "/configs/devices"}};
    const auto device = device::load_device("h100-sxm5", dirs.devices, {});
    double lines = 0, events = 0, activations = 0;
    for (auto _ : state) {
        const auto s = cli::simulate_op(workload::parse_op(op), {}, device, dirs);
        lines += static_cast<double>(s.seen.lines);
        events += static_cast<double>(s.seen.events);
        activations += static_cast<double>(s.seen.activations);
    }
    state.counters["lines/s"] = benchmark::Counter(lines, benchmark::Counter::kIsRate);
    state.counters["events/s"] = benchmark::Counter(events, benchmark::Counter::kIsRate);
    state.counters["events/line"] = events / lines;
    state.counters["activations/line"] = activations / lines;
}
BENCHMARK_CAPTURE(Simulate, decode_layer,
                  std::string("model_decode model=llama-2-7b batch=1 context=2048 dtype=bf16 layers=1"))
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Simulate, prefill_product, std::string("gemm m=2048 n=4096 k=4096 dtype=bf16"))
    ->Unit(benchmark::kMillisecond);
// Cost grows with the bytes: four times as many, four times as long.
BENCHMARK_CAPTURE(Simulate, read_64MB, std::string("read bytes=67108864"))->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Simulate, read_256MB, std::string("read bytes=268435456"))->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Simulate, read_1GB, std::string("read bytes=1073741824"))->Unit(benchmark::kMillisecond);
// And not with what idles: the same bytes through one SM.
BENCHMARK_CAPTURE(Simulate, read_64MB_one_sm, std::string("read bytes=67108864 sms=1"))->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace memwall

/// As the program does it.
int main(int argc, char** argv) {
    memwall::prefer_huge_pages();
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    benchmark::RunSpecifiedBenchmarks();
}
