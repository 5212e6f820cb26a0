// A prefill simulates two layers and lets the second stand for the rest: it must agree with the full simulation within
// 1 %.
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace memwall {
namespace {

nlohmann::json run(const std::string& arguments) {
    FILE* pipe = popen(fmt::format("{} run {} --json -", MEMWALL_BINARY, arguments).c_str(), "r");
    std::string out;
    std::array<char, 4096> buffer;
    for (std::size_t n = 0; (n = fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) out.append(buffer.data(), n);
    pclose(pipe);
    return nlohmann::json::parse(out);
}

TEST(Extrapolation, OfIdenticalLayersAgreesWithTheFullSimulation) {
    const auto file = std::filesystem::temp_directory_path() / fmt::format("memwall-small-{}.json", ::getpid());
    std::ofstream(file) << R"({"architectures": ["LlamaForCausalLM"], "hidden_size": 1024, "intermediate_size": 2816,
        "num_hidden_layers": 6, "num_attention_heads": 8, "num_key_value_heads": 8, "vocab_size": 8000})";
    const std::string arguments = "--device h100-sxm5 --model " + file.string() + " --phase prefill --tokens 512";
    const auto few = run(arguments), all = run(arguments + " --all-layers");
    std::filesystem::remove(file);
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
}

}  // namespace
}  // namespace memwall
