"""Query and worklist (PS3.4 C and K): C-FIND as SCP and SCU, over any number of archives."""
