// What for_each_set.hpp defined for one set is gone.
#undef INSTRUCTIONS
#undef SET_NAME
#undef LANES
#undef MAX_ROWS
#undef FMA
#undef MIN
