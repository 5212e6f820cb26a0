// The list of what is measured: stable, unique, inside its time, and without schedules that a kernel would refuse.

#include "case.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "gemm_tiles.h"

namespace {

using namespace memwall::measure;

double seconds(const Cases& cases) {
    double ms = 0;
    for (const Case& c : cases) ms += c.gpu_ms;
    return ms / 1e3;
}

TEST(Case, ItsIdIsMadeOfItsParametersAndSchedule) {
    Case c;
    c.op = "gemm";
    c.params = {{"m", 8}, {"dtype", "bf16"}};
    c.schedule = {{"tile", {128, 256, 64}}, {"persistent", true}};
    c.cache = "cold";
    EXPECT_EQ(c.id(), "gemm-m8-dtypebf16-tile128x256x64-persistentyes-cold");
    c.params["library"] = "a b/c";
    EXPECT_EQ(c.id().find_first_of(" /"), std::string::npos);
}

TEST(Suite, IdsAreUniqueAndFitForFiles) {
    std::set<std::string> seen;
    for (const Case& c : suite("full")) {
        EXPECT_TRUE(seen.insert(c.id()).second) << c.id();
        EXPECT_LE(c.id().size(), 200U) << c.id();
        EXPECT_EQ(c.id().find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"),
                  std::string::npos)
            << c.id();
    }
}

TEST(Suite, QuickIsAPartOfFullAndBothKeepToTheirTime) {
    const Cases quick = suite("quick"), full = suite("full");
    std::set<std::string> ids;
    for (const Case& c : full) ids.insert(c.id());
    for (const Case& c : quick) EXPECT_TRUE(ids.contains(c.id()));
    EXPECT_LT(seconds(quick), 60);
    EXPECT_LT(seconds(full), 480);
    EXPECT_THROW((void)suite("medium"), std::invalid_argument);
}

TEST(Suite, HasEnoughSchedulesToRank) {
    // Records that differ only in schedule, by shape: at least 300 in all.
    std::map<std::string, int> schedules;
    for (const Case& c : suite("full")) {
        if (c.kind == "kernel" && !c.schedule.is_null()) ++schedules[c.op + c.params.dump()];
    }
    int comparable = 0;
    for (const auto& [shape, count] : schedules) {
        if (count > 1) comparable += count;
    }
    EXPECT_GE(comparable, 300);
}

TEST(Suite, EveryFamilyIsInBoth) {
    for (const char* name : {"quick", "full"}) {
        std::set<Family> families;
        for (const Case& c : suite(name)) families.insert(c.family);
        EXPECT_EQ(families.size(), 10U) << name;
    }
}

TEST(Suite, TilesFitSharedMemory) {
    for (const Case& c : suite("full")) {
        if (c.schedule.is_null()) continue;
        if (c.family == Family::skinny && c.schedule["path"] == "tma") {
            EXPECT_LE(memwall::kernels::skinny_smem_bytes(c.number("m"), c.schedule["tile"][1], c.schedule["tile"][2],
                                                          static_cast<int>(c.scheduled("stages"))),
                      memwall::kernels::kSharedBytesOfCta)
                << c.id();
        }
        if (c.family != Family::gemm) continue;
        bool compiled = false;
        for (const auto& tile : memwall::kernels::kGemmTiles) {
            compiled |= Json{tile.m, tile.n, tile.k} == c.schedule["tile"] &&
                        (tile.element_bytes == 1) == (c.text("dtype") == "fp8") &&
                        tile.cluster == c.scheduled("cluster") && tile.fits(static_cast<int>(c.scheduled("stages")));
        }
        EXPECT_TRUE(compiled) << c.id();
    }
}

}  // namespace
