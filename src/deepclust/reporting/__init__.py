"""Tables, figures and pages made from results files alone: nothing here trains, evaluates or chooses."""
