"""Checks of the NCSN++ and DDPM++ networks, their losses, layers, averages and training against the authors'."""



PLUS_PLUS = ("net_ncsnpp_", "net_ddpmpp_", "net_t_", "loss_ncsnpp_", "loss_ddpmpp_")
