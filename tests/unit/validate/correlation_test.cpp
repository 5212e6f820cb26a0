// Errors, families and ranks, from numbers whose answers are known.

#include "validate/correlation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

namespace {

using namespace memwall::validate;

Record record(const std::string& id, double value, const std::string& metric = "time_us") {
    Record r;
    r.id = id;
    r.device = "h100-sxm5";
    r.kind = "kernel";
    r.op = "gemm";
    r.params = {{"dtype", "bf16"}, {"k", "4096"}, {"m", "4096"}, {"n", "4096"}};
    r.metric = metric;
    r.value = value;
    r.source = "s";
    return r;
}

Simulation simulated(double value, double roofline = 0) {
    Simulation s;
    s.simulated = value;
    s.roofline = roofline;
    s.time_us = value;
    s.op = "gemm";
    return s;
}

TEST(Stats, AreThoseOfTheAbsoluteErrors) {
    const ErrorStats s = stats_of({-10, 20, -30, 40, 0});
    EXPECT_EQ(s.n, 5);
    EXPECT_DOUBLE_EQ(s.mape_pct, 20);
    EXPECT_DOUBLE_EQ(s.median_ape_pct, 20);
    EXPECT_DOUBLE_EQ(s.p90_ape_pct, 36);
    EXPECT_DOUBLE_EQ(s.bias_pct, 4);
    EXPECT_EQ(stats_of({}).n, 0);
}

TEST(Tau, IsOneInOrderMinusOneReversedAndCountsTies) {
    EXPECT_DOUBLE_EQ(kendall_tau({{1, 10}, {2, 20}, {3, 30}}), 1);
    EXPECT_DOUBLE_EQ(kendall_tau({{1, 30}, {2, 20}, {3, 10}}), -1);
    // Of six pairs five agree: (5 - 1) / 6.
    EXPECT_DOUBLE_EQ(kendall_tau({{1, 1}, {2, 2}, {3, 4}, {4, 3}}), 4.0 / 6);
    // tau-b: a tie in one of them alone counts in the other's pairs only.
    EXPECT_NEAR(kendall_tau({{1, 1}, {1, 2}, {2, 3}}), 2 / std::sqrt(2.0 * 3), 1e-12);
    EXPECT_EQ(kendall_tau({{1, 1}}), 0);
}

TEST(Compare, SignsTheErrorAndPicksTheBestLibrary) {
    auto results = compare({record("a", 100), record("b", 80), record("c", 50, "tflops"), record("d", 60, "tflops")},
                           {simulated(90), simulated(90), simulated(55), simulated(55)});
    EXPECT_DOUBLE_EQ(results[0].error_pct, -10);
    EXPECT_DOUBLE_EQ(results[1].error_pct, 12.5);
    EXPECT_FALSE(results[0].best);
    EXPECT_TRUE(results[1].best);  // the shorter time
    EXPECT_FALSE(results[2].best);
    EXPECT_TRUE(results[3].best);  // the higher rate
    EXPECT_EQ(results[0].family, "gemm, m >= 1024");
}

TEST(Summary, CountsWhatWasSkippedAndNothingElseOfIt) {
    Simulation skipped;
    skipped.skipped = "no description";
    const auto results = compare({record("a", 100), record("b", 100)}, {simulated(110), skipped});
    const Summary s = summarise(results);
    EXPECT_EQ(s.n, 1);
    EXPECT_EQ(s.skipped, 1);
    EXPECT_DOUBLE_EQ(s.all.mape_pct, 10);
    const auto json = nlohmann::json::parse(to_json(results, s));
    EXPECT_EQ(json["schema"], "memwall-correlation/1");
    EXPECT_EQ(json["records"][1]["skipped"], "no description");
    EXPECT_TRUE(json["records"][1]["simulated"].is_null());
    EXPECT_TRUE(json["records"][0]["skipped"].is_null());
    for (const char* key : {"n", "skipped", "mape_pct", "median_ape_pct", "p90_ape_pct", "pearson_log", "kendall_tau",
                            "by_op", "by_source"})
        EXPECT_TRUE(json["summary"].contains(key)) << key;
}

TEST(Ranking, RegretIsWhatTheFavouriteCosts) {
    std::vector<Record> records;
    std::vector<Simulation> simulations;
    // Measured 10, 11, 15; the simulation prefers the second.
    const double measured[] = {10, 11, 15}, guessed[] = {12, 9, 20};
    for (int i = 0; i < 3; ++i) {
        records.push_back(record("r" + std::to_string(i), measured[i]));
        records.back().schedule = {{"stages", std::to_string(i + 2)}};
        simulations.push_back(simulated(guessed[i]));
    }
    const auto rankings = rankings_of(compare(records, simulations));
    ASSERT_EQ(rankings.size(), 1U);
    EXPECT_EQ(rankings[0].n, 3);
    EXPECT_NEAR(rankings[0].regret_pct, 10, 1e-9);
    EXPECT_NEAR(rankings[0].kendall_tau, 1.0 / 3, 1e-12);
}

TEST(Ranking, OfOneScheduleTheFastestKernelCounts) {
    std::vector<Record> records;
    std::vector<Simulation> simulations;
    // Two stages of an optimisation have the schedule that the simulation prefers: the better is no worse than the
    // rest.
    const double measured[] = {14, 10, 11, 15}, guessed[] = {9, 9, 12, 20};
    const char* stages[] = {"4", "4", "3", "2"};
    for (int i = 0; i < 4; ++i) {
        records.push_back(record("r" + std::to_string(i), measured[i]));
        records.back().schedule = {{"stages", stages[i]}};
        simulations.push_back(simulated(guessed[i]));
    }
    const auto rankings = rankings_of(compare(records, simulations));
    ASSERT_EQ(rankings.size(), 1U);
    EXPECT_EQ(rankings[0].n, 3);
    EXPECT_EQ(rankings[0].regret_pct, 0);
    EXPECT_NEAR(rankings[0].kendall_tau, 1, 1e-12);
}

TEST(SimpleModels, GetTheBestEfficiencyThatThereIs) {
    // Memory-bound times that are all the roofline over 0.8: a fixed efficiency is then exact.
    std::vector<Record> records;
    std::vector<Simulation> simulations;
    for (int i = 1; i <= 4; ++i) {
        records.push_back(record(std::to_string(i), 100.0 * i));
        simulations.push_back(simulated(90.0 * i, 80.0 * i));
    }
    const Summary s = summarise(compare(records, simulations));
    EXPECT_NEAR(s.memory_efficiency, 0.8, 1e-9);
    EXPECT_NEAR(s.roofline_fixed.mape_pct, 0, 1e-6);
    EXPECT_NEAR(s.roofline.mape_pct, 20, 1e-9);
    EXPECT_NEAR(s.memwall_there.mape_pct, 10, 1e-9);
}

TEST(Page, HoldsEverythingItself) {
    const auto results = compare({record("</script><b>", 100)}, {simulated(90)});
    const std::string page = to_html(results, summarise(results));
    EXPECT_NE(page.find("Chart.js v3"), std::string::npos);
    EXPECT_EQ(page.find("/*DATA*/"), std::string::npos);
    EXPECT_EQ(page.find("/*CHART*/"), std::string::npos);
    EXPECT_EQ(page.find("</script><b>"), std::string::npos);  // a record's name cannot end the script
    EXPECT_EQ(page.find("src=\""), std::string::npos);
    EXPECT_EQ(page.find("<link"), std::string::npos);
}

TEST(Families, FollowWhatLimitsTheWork) {
    Record r = record("a", 1);
    r.params = {{"m", "64"}};
    EXPECT_EQ(family_of(r), "gemm, m <= 64");
    r.schedule = {{"tile", "64x128x64"}};
    EXPECT_EQ(family_of(r), "gemm, of a given tile");
    r.schedule_of_library = true;
    EXPECT_EQ(family_of(r), "gemm, m <= 64");
    r.schedule.clear();
    r.op = "attention_decode";
    r.params = {{"batch", "8"}, {"kv", "4096"}, {"kv_heads", "8"}, {"head_dim", "128"}, {"dtype", "bf16"}};
    EXPECT_EQ(family_of(r), "decode attention, KV > 60 MB");  // 2 * 8 * 4096 * 8 * 128 * 2 B = 134 MB
    r.params[0].second = "2";
    EXPECT_EQ(family_of(r), "decode attention, KV <= 60 MB");
    EXPECT_EQ(aim_of("gemm, m >= 1024"), 6);
    EXPECT_FALSE(aim_of("gemm, m 65 to 1023").has_value());
}

}  // namespace
