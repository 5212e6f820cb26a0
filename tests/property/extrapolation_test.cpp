// A prefill simulates two layers and lets the second stand for the rest: it must agree with the full simulation within
// 1 %.
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace memwall {
namespace {

namespace fs = std::filesystem;

class Extrapolation : public testing::Test {
protected:
    void SetUp() override {
        fs::create_directories(folder_);
        std::ofstream(model_)
            << R"({"architectures": ["LlamaForCausalLM"], "hidden_size": 1024, "intermediate_size": 2816,
            "num_hidden_layers": 6, "num_attention_heads": 8, "num_key_value_heads": 8, "vocab_size": 8000})";
    }
    void TearDown() override { fs::remove_all(folder_); }

    [[nodiscard]] nlohmann::json run(const std::string& options) const {
        const std::string line = fmt::format("{} run --device h100-sxm5 --model {} --phase prefill {} --json -",
                                             MEMWALL_BINARY, model_.string(), options);
        FILE* pipe = popen(line.c_str(), "r");
        std::string out;
        std::array<char, 4096> buffer;
        for (std::size_t n = 0; (n = fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) out.append(buffer.data(), n);
        pclose(pipe);
        return nlohmann::json::parse(out);
    }

    const fs::path folder_ = fs::temp_directory_path() / fmt::format("memwall-layers-{}", ::getpid());
    const fs::path model_ = folder_ / "small.json";
};

TEST_F(Extrapolation, OfIdenticalLayersAgreesWithTheFullSimulation) {
    const std::string arguments = "--tokens 512 --set /power/board_limit_w=300";
    const auto few = run(arguments), all = run(arguments + " --all-layers");
    EXPECT_EQ(few["layers"], 6);
    EXPECT_EQ(few["layers_simulated"], 2);
    EXPECT_EQ(all["layers_simulated"], 6);
    const double a = few["time_us"], b = all["time_us"];
    EXPECT_NEAR(a, b, 0.01 * b);
    EXPECT_EQ(few["flops"], all["flops"]);
    // What SMs ask for is the same in every layer. How much of it is merged in front of the slices is not: it differs
    // by 3 % between layers of the full simulation, by which requests happen to meet.
    const auto asked = [](const nlohmann::json& run) {
        return run["l2"]["read_bytes"].get<double>() + run["l2"]["coalesced_bytes"].get<double>();
    };
    EXPECT_DOUBLE_EQ(asked(few), asked(all));
    EXPECT_EQ(few["l2"]["write_bytes"], all["l2"]["write_bytes"]);
    // The limit is far below what this draws: energy, time and roofline must be of the same layers to agree.
    const auto &power = few["power"], &full = all["power"];
    EXPECT_NEAR(power["board_w"], full["board_w"], 0.01 * full["board_w"].get<double>());
    EXPECT_LT(full["sustained_sm_clock_mhz"], 1900);
    EXPECT_NEAR(power["sustained_sm_clock_mhz"], full["sustained_sm_clock_mhz"], 15);
}

// A record of a served prefill is the same work as the run, at the clock that the board's limit allows: of its layers,
// too, the last stands for the rest, and its energy with it.
TEST_F(Extrapolation, ARecordOfAPrefillIsSimulatedAsTheRunIs) {
    std::ofstream(folder_ / "record.json") << fmt::format(
        R"({{"schema": "memwall-reference/1", "records": [{{"id": "ttft", "device": "h100-sxm5", "kind": "model",
        "op": "model_prefill", "params": {{"model": "{}", "batch": 1, "tokens": 256, "dtype": "bf16"}},
        "metric": "time_us", "value": 1000, "timing": "served"}}]}})",
        model_.string());
    const fs::path out = folder_ / "out";
    const std::string limit = " --set /power/board_limit_w=200 --set /power/peak_limit_w=300";
    const std::string line = fmt::format("{} correlate --reference {} --out {}{} > /dev/null", MEMWALL_BINARY,
                                         (folder_ / "record.json").string(), out.string(), limit);
    ASSERT_EQ(std::system(line.c_str()), 0);
    const auto correlation = nlohmann::json::parse(std::ifstream(out / "correlation.json"));
    const auto& record = correlation["records"][0];
    EXPECT_EQ(record["simulated_as"]["note"], "2 of 6 layers simulated, the last for the others");
    const auto served = run("--tokens 256 --sm-clock burst" + limit);
    EXPECT_LT(served["sm_clock_mhz"], 1980);
    EXPECT_EQ(served["power"]["ceiling_sm_clock_mhz"], 1980);
    EXPECT_EQ(record["simulated_as"]["sm_clock_mhz"], served["sm_clock_mhz"]);
    EXPECT_NEAR(record["simulated"], served["time_us"], 0.01);
    const auto& roofline = served["roofline_us"];
    EXPECT_NEAR(record["roofline"], std::max(roofline["memory"].get<double>(), roofline["compute"].get<double>()), 0.1);
}

}  // namespace
}  // namespace memwall
