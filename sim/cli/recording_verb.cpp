// memwall correlate --recording: the tiles of instrumented kernels beside those of the same kernels simulated.

#include <fmt/core.h>

#include <filesystem>
#include <numeric>

#include "base/error.h"
#include "base/json_reader.h"
#include "cli/simulation.h"
#include "cli/verbs.h"
#include "device/reader.h"
#include "validate/express.h"
#include "validate/recording.h"
#include "workload/workload.h"

namespace memwall::cli {

namespace fs = std::filesystem;

namespace {

constexpr int kSmsInTimeline = 8;

Simulated simulate_watched(const validate::RecordedKernel& kernel, const device::Device& device,
                           const ConfigDirs& configs) {
    const validate::Expressed e = validate::express(kernel.work, device);
    Work work = work_of(e.op, e.wish, device, configs);
    auto run = describe(e.op, work, device);
    chip::RunOptions options;
    options.timeline = true;
    options.timeline_sms.resize(static_cast<std::size_t>(device.sms()));
    std::iota(options.timeline_sms.begin(), options.timeline_sms.end(), 0);
    return simulate(std::move(work.trace), std::move(run), device, options);
}

}  // namespace

int compare_recordings(const std::vector<std::string>& files, const std::string& out,
                       const std::vector<std::string>& sets, const std::map<std::string, std::string>& stand_ins) {
    const ConfigDirs configs = find_configs();
    std::error_code failed;
    fs::create_directories(out, failed);
    if (failed) throw HostError(fmt::format("{}: cannot make this folder: {}", out, failed.message()));
    std::string text = "# Tile by tile\n\n";
    for (const std::string& file : files) {
        for (const validate::RecordedKernel& kernel : validate::read_recording(file)) {
            const auto other = stand_ins.find(kernel.work.device);
            const std::string name =
                other != stand_ins.end() ? other->second : validate::device_for(kernel.work.device);
            const Simulated s = simulate_watched(kernel, device::load_device(name, configs.devices, sets), configs);
            const auto tiles = validate::simulated_tiles(s.seen);
            text += validate::tiles_markdown(kernel, validate::statistics_of(kernel.tiles),
                                             validate::statistics_of(tiles), s.result.time_us);
            atomic_write(fs::path(out) / (kernel.name + ".timeline.json"),
                         validate::tiles_timeline(kernel.tiles, tiles, kSmsInTimeline));
        }
    }
    atomic_write(fs::path(out) / "tiles.md", text);
    fmt::print("{}written: {}/tiles.md, and a timeline for each kernel (open it in https://ui.perfetto.dev)\n", text,
               out);
    return 0;
}

}  // namespace memwall::cli
