Console.Error.WriteLine("crstore: not built yet");
return 1;
