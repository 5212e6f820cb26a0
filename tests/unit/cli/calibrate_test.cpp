// memwall calibrate finds a part's number again from microbenchmarks of a device that had another one.

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/simulation.h"
#include "cli/verbs.h"
#include "device/reader.h"

namespace {

namespace fs = std::filesystem;
using namespace memwall;
using nlohmann::json;

class Calibrate : public testing::Test {
protected:
    void SetUp() override { fs::create_directories(folder_); }
    void TearDown() override { fs::remove_all(folder_); }

    /// A latency as a device with other numbers has it.
    static json chase(const std::string& id, const std::string& kind, const std::vector<std::string>& sets) {
        const cli::ConfigDirs configs = cli::find_configs();
        const auto device = device::load_device("h100-pcie", configs.devices, sets);
        const auto s =
            cli::simulate_op(workload::parse_op("pointer_chase bytes=3145728 stride=1024"), {}, device, configs);
        return {{"id", id},
                {"device", "h800-pcie"},
                {"kind", kind},
                {"op", "pointer_chase"},
                {"params", {{"bytes", 3145728}, {"stride", 1024}}},
                {"metric", "latency_cycles"},
                {"value", s.seen.chase.mean_cycles},
                {"sm_clock_mhz", 1755}};
    }
    std::string reference(const json& records) const {
        const fs::path path = folder_ / "measured.json";
        std::ofstream(path) << json{{"schema", "memwall-reference/1"}, {"records", records}}.dump();
        return path.string();
    }
    [[nodiscard]] std::string out() const { return (folder_ / "mine.json").string(); }
    int run(const std::string& options) const {
        const std::string line =
            std::string(MEMWALL_BINARY) + " calibrate " + options + " > " + (folder_ / "said").string() + " 2>&1";
        const int status = std::system(line.c_str());
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }

    fs::path folder_ = fs::temp_directory_path() / ("memwall-calibrate-" + std::to_string(getpid()));
};

TEST_F(Calibrate, FindsTheNumberThatTheMeasuredChipHad) {
    // A kernel's record that would pull the other way is not looked at.
    const std::string file =
        reference({chase("hit", "micro", {"/l2/hit_ns=41"}), chase("not", "kernel", {"/l2/hit_ns=9"})});
    ASSERT_EQ(run("--device h100-pcie --reference " + file + " --out " + out()), 0);
    const auto dirs = cli::find_configs().devices;
    const auto fitted = device::read_description(out(), dirs, {});
    EXPECT_NEAR(fitted.device.l2.hit_ns, 41, 1);
    EXPECT_EQ(fitted.device.name, "mine");
    const auto base = device::read_description("h100-pcie", dirs, {});
    int changed = 0;
    for (std::size_t i = 0; i < base.entries.size(); ++i) {
        if (fitted.entries[i].value == base.entries[i].value) continue;
        ++changed;
        EXPECT_EQ(fitted.entries[i].pointer, "/l2/hit_ns");
        EXPECT_NE(fitted.entries[i].source.find("hit"), std::string::npos);  // names its records
        EXPECT_NE(fitted.entries[i].source.find("before"), std::string::npos);
    }
    EXPECT_EQ(changed, 1);
}

TEST_F(Calibrate, WithoutAMicrobenchmarkThereIsNothingToFit) {
    const std::string file = reference({chase("not", "kernel", {})});
    EXPECT_EQ(run("--device h100-pcie --reference " + file + " --out " + out()), 2);
    EXPECT_FALSE(fs::exists(out()));
    EXPECT_EQ(run("--device h100-pcie --reference " + file + " --out mine.txt"), 2);
}

}  // namespace
