// The command line as a script meets it: exit statuses, one clear line, nothing lost.
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "support/files.h"

namespace memwall {
namespace {

namespace fs = std::filesystem;

struct Ran {
    int status;
    std::string out, err;
};

/// Runs the program with a shell's quoting; standard error goes to a file of its own.
Ran memwall(const std::string& arguments) {
    const fs::path err = fs::temp_directory_path() / fmt::format("memwall-test-{}.err", ::getpid());
    FILE* pipe = popen(fmt::format("{} {} 2>{}", MEMWALL_BINARY, arguments, err.string()).c_str(), "r");
    std::string out;
    std::array<char, 4096> buffer;
    for (std::size_t n = 0; (n = fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) out.append(buffer.data(), n);
    const int status = pclose(pipe);
    std::ifstream in(err);
    std::string text((std::istreambuf_iterator<char>(in)), {});
    fs::remove(err);
    return {WEXITSTATUS(status), out, text};
}

/// Bad input: status 2, one line on standard error that holds all the words, nothing on standard output.
void expect_refused(const std::string& arguments, const std::vector<std::string>& words) {
    const Ran ran = memwall(arguments);
    EXPECT_EQ(ran.status, 2) << arguments << "\n" << ran.err;
    EXPECT_EQ(std::count(ran.err.begin(), ran.err.end(), '\n'), 1) << ran.err;
    EXPECT_TRUE(ran.out.empty()) << ran.out;
    for (const std::string& word : words)
        EXPECT_NE(ran.err.find(word), std::string::npos) << "no \"" << word << "\" in: " << ran.err;
}

TEST(Cli, WarnsOfTensorsThatTheMemoryCannotHold) {
    const std::string read = "run --device h100-sxm5 --op 'read bytes=16777216'";
    EXPECT_EQ(memwall(read).err, "");
    const Ran ran = memwall(read + " --set /hbm/rows=1");  // 160 pseudo channels of one page a bank
    EXPECT_EQ(ran.status, 0);
    EXPECT_NE(ran.err.find("take 0.0168 GB, the memory of h100-sxm5 holds 0.0"), std::string::npos) << ran.err;
    EXPECT_NE(ran.err.find("/hbm/rows"), std::string::npos) << ran.err;
}

TEST(Cli, RefusesBadInputInOneLineThatNamesIt) {
    expect_refused("run --device no-such --op 'read bytes=1024'", {"no-such", "h100-sxm5"});
    expect_refused("run --device h100-sxm5 --op 'gem m=1'", {"gem", "gemm"});
    expect_refused("run --device h100-sxm5 --op 'gemm m=1 n=2 k=3 dtype=bf16 zebra=1'", {"zebra", "split"});
    expect_refused("run --device h100-sxm5 --op 'gemm m=1 n=2 dtype=bf16'", {"\"k\""});
    expect_refused("run --device h100-sxm5 --op 'gemm m=-4 n=2 k=64 dtype=bf16'", {"-4", "positive"});
    expect_refused("run --device h100-sxm5 --op 'gemm m=8 n=8 k=64 dtype=bf17'", {"bf17", "fp8"});
    expect_refused("run --device h100-sxm5", {"--op", "--model"});
    expect_refused("run --device h100-sxm5 --model no-such --phase decode", {"no-such", "llama-2-7b"});
    expect_refused("run --device h100-sxm5 --model llama-2-7b --phase sideways", {"sideways", "prefill"});
    expect_refused("run --device h100-sxm5 --op 'read bytes=1024' --set /sm/max_thread=1",
                   {"/sm/max_thread", "/sm/max_threads"});
    expect_refused("run --device h100-sxm5 --op 'read bytes=1024' --set /sm/max_threads=-3", {"/sm/max_threads", "-3"});
    expect_refused("run --device h100-sxm5 --op 'read bytes=1024' --stages x", {"stages"});
    expect_refused("frobnicate", {"frobnicate", "run"});
}

TEST(Cli, SaysWhichVerbsAreNotThereYet) {
    for (const char* verb : {"trace", "sweep", "report"}) expect_refused(verb, {verb, "does not have this verb yet"});
    expect_refused("run --device h100-sxm5 --model llama-2-7b --phase mixed", {"mixed", "decode"});
}

TEST(Cli, RefusesAScheduleThatDoesNotFitWithTheArithmetic) {
    // 256x64 and 256x64 bf16: 65,536 bytes a stage; four and the epilogue are more than a CTA may have.
    expect_refused("run --device h100-sxm5 --op 'gemm m=4096 n=4096 k=4096 dtype=bf16' --tile 256x256x64 --stages 4",
                   {"65536", "4 stages", "278528", "232448"});
    expect_refused("run --device h100-sxm5 --op 'gemm m=4096 n=4096 k=4096 dtype=bf16' --tile 100x256x64",
                   {"100x256x64", "64"});
    expect_refused("run --device h100-sxm5 --op 'gemm m=4096 n=4096 k=4096 dtype=bf16' --tile 128x256",
                   {"128x256", "MxNxK"});
}

TEST(Cli, NamesFilePointerAndAllowedArchitectureOfAModel) {
    const fs::path file = test::temporary("model.json");
    std::ofstream(file) << R"({"architectures": ["GPT2LMHeadModel"], "hidden_size": 768})";
    expect_refused("run --device h100-sxm5 --model " + file.string() + " --phase decode",
                   {"/architectures/0", "GPT2LMHeadModel", "LlamaForCausalLM"});
    std::ofstream(file) << R"({"architectures": ["LlamaForCausalLM"], "hidden_size": "wide"})";
    expect_refused("run --device h100-sxm5 --model " + file.string() + " --phase decode", {"/hidden_size", "wide"});
    fs::remove(file);
}

TEST(Cli, JsonOnStandardOutputIsTheContractAndNothingElse) {
    const Ran ran = memwall("run --device h100-sxm5 --op 'gemm m=256 n=512 k=512 dtype=bf16' --json -");
    ASSERT_EQ(ran.status, 0) << ran.err;
    const auto json = nlohmann::json::parse(ran.out);
    for (const char* key : {"schema",
                            "device",
                            "workload",
                            "schedule",
                            "time_us",
                            "sm_cycles",
                            "sm_clock_mhz",
                            "tokens_per_s",
                            "flops",
                            "tflops",
                            "arithmetic_intensity",
                            "dram",
                            "l2",
                            "smem",
                            "tensor",
                            "roofline_us",
                            "tile_lifetime",
                            "waterfall_us",
                            "ops",
                            "host"}) {
        EXPECT_TRUE(json.contains(key)) << key;
    }
    EXPECT_EQ(json["schema"], "memwall-result/1");
    EXPECT_EQ(json["flops"].get<double>(), 2.0 * 256 * 512 * 512);
    for (const char* key :
         {"read_bytes", "write_bytes", "gbps", "fraction_of_peak", "row_hit_rate", "refresh_fraction"})
        EXPECT_TRUE(json["dram"].contains(key)) << key;
    for (const char* key : {"read_bytes", "hit_rate", "near_bytes", "far_bytes"})
        EXPECT_TRUE(json["l2"].contains(key)) << key;
    for (const char* key : {"hbm", "interposer", "l2", "crossbar", "smem_wait", "compute"})
        EXPECT_TRUE(json["tile_lifetime"].contains(key)) << key;
    for (const char* key : {"wall_s", "events", "max_rss_bytes", "version"})
        EXPECT_TRUE(json["host"].contains(key)) << key;
    double sum = 0;
    for (const auto& loss : json["waterfall_us"]) sum += loss["us"].get<double>();
    EXPECT_NEAR(sum, json["time_us"].get<double>(), 1e-3 * json["time_us"].get<double>());
    double life = 0;
    for (const auto& part : json["tile_lifetime"]) life += part.get<double>();
    EXPECT_NEAR(life, 1.0, 1e-6);
}

// A product on a board that may draw less than it would: slower, under the limit, and not much under it.
TEST(Cli, KeepsUnderThePowerLimitWhereAsked) {
    const std::string product =
        "run --device h100-sxm5 --op 'gemm m=1024 n=4096 k=1024 dtype=bf16' --set /power/board_limit_w=400 --json - ";
    const auto full = nlohmann::json::parse(memwall(product).out);
    const auto held = nlohmann::json::parse(memwall(product + "--sm-clock sustained").out);
    EXPECT_GT(full["power"]["board_w"], 400);
    EXPECT_LT(held["sm_clock_mhz"], full["sm_clock_mhz"]);
    EXPECT_GT(held["time_us"], full["time_us"]);
    EXPECT_LE(held["power"]["board_w"], 400);
    EXPECT_GT(held["power"]["board_w"], 380);
}

// What a board draws over idle is the work's: the same bytes and FLOPs cost the same however their kernels are
// launched, also where a dependent launch waits beside the kernel before it.
TEST(Cli, TheEnergyOfAStepIsThatOfItsWork) {
    const auto joules = [](const std::string& runtime) {
        const auto json = nlohmann::json::parse(memwall("run --device h100-sxm5 --model llama-2-7b --phase decode "
                                                        "--context 128 --layers 2 --json - --runtime " +
                                                        runtime)
                                                    .out);
        const auto& power = json["power"];
        return (power["board_w"].get<double>() - power["by_part_w"]["idle"].get<double>()) *
               json["time_us"].get<double>() * 1e-6;
    };
    const double graph = joules("graph");
    EXPECT_NEAR(joules("pdl"), graph, 0.003 * graph);
}

// No whole run was measured near this one, but its operations were. Kernels that wait beside the one before count once:
// the shares are of the run's time. A fold belongs to its product.
TEST(Cli, AModelsErrorBandIsThatOfItsOperations) {
    for (const std::string runtime : {"graph", "pdl"}) {
        const Ran ran = memwall(
            "run --device h100-sxm5 --model llama-2-7b --phase decode --context 128 --layers 2 --json - --runtime " +
            runtime);
        ASSERT_EQ(ran.status, 0) << ran.err;
        const auto json = nlohmann::json::parse(ran.out);
        const double total = json["time_us"];
        double end = json["ops"][0]["start_us"], projection = 0;
        for (const auto& op : json["ops"]) {
            const double until = op["start_us"].get<double>() + op["time_us"].get<double>();
            if (op["name"].get<std::string>().find("o_proj") != std::string::npos) projection += until - end;
            end = std::max(end, until);
        }
        const auto& band = json["error_band"]["by_operation"];
        double covered = 0;
        const nlohmann::json* found = nullptr;
        for (const auto& one : band["operations"]) {
            covered += one["share"].get<double>();
            EXPECT_LE(one["low_pct"], one["high_pct"]);
            EXPECT_FALSE(one["records"].empty());
            if (one["op"] == "gemm m=1 n=4096 k=4096 batch=1 dtype=bf16 weights_dtype=bf16") found = &one;
        }
        EXPECT_NEAR(covered, band["covered"], 1e-6);
        EXPECT_GT(covered, 0.9) << runtime;
        EXPECT_LE(covered, 1.0 + 1e-6) << runtime;
        ASSERT_NE(found, nullptr);
        // The launch before the first kernel is in the shares and not in the run's time.
        EXPECT_NEAR((*found)["share"], projection / total, 0.01 * projection / total) << runtime;
    }
}

TEST(Cli, AFailedWriteIsStatusOneAndLeavesNothing) {
    const fs::path missing = fs::temp_directory_path() / "memwall-no-such-folder" / "result.json";
    const Ran ran = memwall("run --device h100-sxm5 --op 'read bytes=65536' --json " + missing.string());
    EXPECT_EQ(ran.status, 1) << ran.err;
    EXPECT_FALSE(fs::exists(missing));
    const Ran full = memwall("run --device h100-sxm5 --op 'read bytes=65536' --json - > /dev/full");
    EXPECT_EQ(full.status, 1) << full.err;
}

TEST(Cli, WritesATimelineThatPerfettoReads) {
    const fs::path file = test::temporary("timeline.json");
    const Ran ran = memwall("run --device h100-sxm5 --op 'gemm m=512 n=512 k=512 dtype=bf16' --timeline " +
                            file.string() + " --timeline-sms 0,5");
    ASSERT_EQ(ran.status, 0) << ran.err;
    std::ifstream in(file);
    const auto json = nlohmann::json::parse(in);
    int kernels = 0, tensor = 0;
    for (const auto& event : json["traceEvents"]) {
        if (event["ph"] != "X") continue;
        EXPECT_GE(event["dur"].get<double>(), 0);
        kernels += event["pid"] == 1 && event["tid"] == 1;
        tensor += event["pid"].get<int>() >= 100 && event["tid"].get<int>() / 1000 == 2;
    }
    EXPECT_EQ(kernels, 1);
    EXPECT_GT(tensor, 0);
    fs::remove(file);
}

TEST(Cli, TheSameRunGivesTheSameBytes) {
    const auto result = [] {
        auto json = nlohmann::json::parse(
            memwall("run --device h100-sxm5 --model llama-2-7b --phase decode --layers 1 --context 512 --json -").out);
        json.erase("host");
        return json;
    };
    EXPECT_EQ(result(), result());
}

TEST(Cli, DeviceVerbsWork) {
    EXPECT_NE(memwall("device list").out.find("h200-sxm"), std::string::npos);
    EXPECT_NE(memwall("device show h100-sxm5").out.find("0xB3000"), std::string::npos);
    EXPECT_EQ(memwall("device graph h100-sxm5").out.rfind("graph", 0), 0U);
    EXPECT_NE(memwall("device graph h100-sxm5 --svg").out.find("<svg"), std::string::npos);
    const Ran probe = memwall("device probe h100-pcie --only 'shared memory' --json -");
    EXPECT_EQ(probe.status, 0) << probe.err;
    EXPECT_EQ(nlohmann::json::parse(probe.out)["schema"], "memwall-probe/1");
}

}  // namespace
}  // namespace memwall
